"""How a command ends that did not do all it was asked: a user's mistake, or told to stop."""


class UserError(Exception):
    """Bad input: the message is one line that names the file, the line, the value and what to do.

    The command line prints it and exits with status 2; a library user catches it.
    """


class Stopped(Exception):
    """A run was told to stop and saved its state: the same command goes on from there.

    The command line exits with 75 (sysexits' TEMPFAIL), by which launchers know that there is more
    to do, or with 130 after Ctrl-C, as interrupted programs do.
    """

    def __init__(self, message: str, by_hand: bool):
        super().__init__(message)
        self.status = 130 if by_hand else 75


def shown(value: object, most: int = 100) -> str:
    """What somebody gave, as a message shows it: all of it only where it is short.

    >>> shown("I3"), shown("I" * 5_000, most=5)
    ("'I3'", "'IIII…")
    """
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}…"
