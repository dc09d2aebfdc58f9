"""The one exception that a user's mistake ends in."""


class UserError(Exception):
    """Bad input: the message is one line that names the file, the line, the value and what to do.

    The command line prints it and exits with status 2; a library user catches it.
    """
