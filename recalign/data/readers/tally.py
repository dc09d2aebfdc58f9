"""Bad lines: counted, sampled, reported, and too many of them end the run."""

import dataclasses
from collections.abc import Mapping

from recalign.errors import UserError

DEFAULT_MAX_BAD_FRACTION = 0.001

WARNING = "warning: "
"""Begins a note on what may make the results wrong."""

NO_TIME = "no time column"
"""Stands in the note of a log whose order is that of its file."""

MOST_SAMPLES = 5
_SHOWN = 80


def shown(value: object) -> str:
    """A value as an error message shows it: on one line, and not all of a 1 MB title."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        return f"a {type(value).__name__} that cannot be written out"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text):,} characters)"


@dataclasses.dataclass
class Tally:
    """Counts the good and the bad lines of a file, and holds what reading it gave."""

    path: str  # the file, or the pattern or folder of several
    unit: str = "line"  # what is counted, or "row"
    file: str = ""  # of several files the one that is read now
    accepted: int = 0
    rejected: int = 0
    # The first bad ones, each a text with file, line, reason and value.
    samples: list[str] = dataclasses.field(default_factory=list)
    taken: int = 1  # lines of the record that is read now: what is wrong with it is with them all
    unrated: int = 0  # lines left out since their rating stands for none (--no_rating)
    events: dict[str, int] = dataclasses.field(default_factory=dict)  # kind -> lines of it
    hopeless: int = 10_000  # so many bad lines, and most of all, end the run before the file's end
    # Role -> the name of the column that plays it; empty for formats without columns.
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    guessed: bool = False  # a column was guessed from its name
    notes: tuple[str, ...] = ()  # what else a person should know, a line each

    def reject(self, line: int, reason: str, value: object, lines: int = 1, file: str = "") -> None:
        """Notes a bad line (or several that belong to one record) of `file`, by default the one
        that is read now. A UserError where most of a long file is bad: there is no point in reading
        on."""
        self.rejected += lines
        if len(self.samples) < MOST_SAMPLES:
            place = file or self.file or self.path
            self.samples.append(f"{place}, {self.unit} {line}: {reason}: {shown(value)}")
        if self.rejected >= self.hopeless and self.rejected > self.accepted:
            raise UserError(
                f"{self.samples[0]} ({self.rejected:,} of the first"
                f" {self.accepted + self.rejected:,} {self.unit}s are bad)"
            )

    def check(self, max_bad_fraction: float) -> None:
        """Raises a UserError where more than `max_bad_fraction` of the lines were bad."""
        total = self.accepted + self.rejected
        if self.rejected > max_bad_fraction * total:
            raise UserError(
                f"{self.samples[0]} ({self.rejected:,} of {total:,} {self.unit}s are bad, more than"
                f" --max_bad_fraction {max_bad_fraction:g} allows)"
            )

    def lines(self, samples: bool = True) -> list[str]:
        """The report as text, with the first bad lines themselves or without."""
        lines = []
        if self.columns:
            how = "columns, guessed from their names" if self.guessed else "columns"
            pairs = ", ".join(f"{role} = {name}" for role, name in self.columns.items())
            lines.append(f"{self.path}: {how}: {pairs}")
        if self.rejected:
            lines.append(
                f"{self.path}: {self.rejected:,} bad lines left out of"
                f" {self.accepted + self.rejected:,}"
            )
            if samples:
                lines.extend(f"  {sample}" for sample in self.samples)
        for note in self.notes:
            text = note.removeprefix(WARNING)
            lines.append(f"{WARNING if text != note else ''}{self.path}: {text}")
        return lines

    def source(self) -> dict[str, object]:
        """What `dataset.json` keeps of it."""
        lines = self.accepted + self.rejected
        return {"path": self.path, "lines": lines, "bad_lines": self.rejected}


@dataclasses.dataclass(frozen=True)
class ReadReport:
    """What reading a log and, where there is one, its items file gave."""

    interactions: Tally
    items: Tally | None

    def lines(self, samples: bool = True) -> list[str]:
        """The report as text, for a person; what the dataset keeps of it is without samples."""
        files = [file for file in (self.interactions, self.items) if file]
        return [line for file in files for line in file.lines(samples)]

    def sources(self) -> list[dict[str, object]]:
        """What `dataset.json` keeps of the files."""
        return [file.source() for file in (self.interactions, self.items) if file]
