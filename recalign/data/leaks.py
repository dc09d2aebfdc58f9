"""Does the dataset give its answers away? Measured on the test targets, a verdict for each way."""

import dataclasses
import string
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Int64

from recalign.data.prepared import PreparedDataset, UserSequences
from recalign.data.readers.tally import NO_TIME
from recalign.data.temporal import TEMPORAL

NEIGHBOURHOODS = (1, 3)
"""How far from the last item's number the target's is looked for."""

_Z = 5.0
"""Standard errors above chance from which a difference is no accident."""

_LIFT = 3.0
"""Times chance from which it is worth a warning."""

_LEAST = 0.01
"""Below this fraction of the users even a certain leak changes no result."""

_DUPLICATED_FRACTION = 0.01

_SORTED_FRACTION = 0.5

_TIED_FRACTION = 0.5

_TIED_RISK = 0.1
"""From here on ties are a risk; in a file that is sorted by item they are one from `_LEAST` on."""


@dataclasses.dataclass(frozen=True)
class Leak:
    """One way in which the answer may be given away."""

    name: str  # what was looked at
    measured: float  # the fraction of test users for whom it holds
    users: int  # how many were looked at
    explanation: str  # a line for a person, with the figures
    chance: float = 0.0  # the fraction that would be expected by chance
    leaks: bool = False
    risk: bool = False  # may make results too good without giving answers away by itself


def leak_report(dataset: PreparedDataset) -> list[Leak]:
    """Looks at numeric neighbourhood of ids, titles, duplicated users, ties in time, and what
    training knows of the time after a test.

    Chance is what the same targets give with the last items of other users: popularity and the
    catalogue are the same, the user is not. Items that belong together (volumes of a series) may
    rightly share words in their titles; so a title counts only where it holds the target's whole.
    """
    test, info = dataset.sequences("test"), dataset.info
    target = test.items[test.row_splits[1:] - 1].astype(np.int64)
    last = test.items[test.row_splits[1:] - 2].astype(np.int64)
    leaks = [
        *_numbers_leaks(dataset.catalogue.ids, last, target),
        _titles_leak(dataset.catalogue.titles, last, target),
        _duplicates_leak(test),
        _sorted_leak(test, dataset.catalogue.raw_ids),
    ]
    if (tied := info.get("tied_last_fraction")) is not None:
        leaks.append(_ties_leak(tied, info.get("ties_sorted_by_item", False), len(test)))
    if (later := info.get("trained_later_fraction")) is not None:
        leaks.append(_later_leak(later, len(test), info.get("split")))
    if any(NO_TIME in note for note in info.get("notes", ())):
        explanation = (
            "the log has no time column: the order of the file is taken for it, and which item is"
            " asked depends on how the file was sorted"
        )
        leaks.append(Leak("order of time", 1.0, len(test), explanation, risk=True))
    return leaks


def format_leaks(leaks: list[Leak]) -> str:
    """A verdict a line."""
    return "\n".join(
        f"{'LEAK' if leak.leaks else 'risk' if leak.risk else 'ok  '}  {leak.name}:"
        f" {leak.explanation}"
        for leak in leaks
    )


_PerUser = Int64[np.ndarray, " users"]


def _numbers_leaks(ids: tuple[str, ...], last: _PerUser, target: _PerUser) -> Iterator[Leak]:
    """Of ids like "I123"; those that are built otherwise have no neighbours."""
    digits = [id_.lstrip(string.ascii_letters) for id_ in ids]
    if not all(map(str.isdecimal, digits)):
        return
    numbers = np.asarray(digits, np.int64)
    for width in NEIGHBOURHOODS:

        def is_near(history: _PerUser, width: int = width) -> np.ndarray:
            distance = np.abs(numbers[target] - numbers[history])
            return (distance > 0) & (distance <= width)

        what = f"the test item's number is within ±{width} of the last item's"
        yield _against_chance(f"ids within ±{width}", what, is_near, last)


def _titles_leak(titles: tuple[str, ...], last: _PerUser, target: _PerUser) -> Leak:
    words = [f" {title.casefold()} " for title in titles]

    def is_contained(history: _PerUser) -> np.ndarray:
        pairs = zip(target.tolist(), history.tolist(), strict=True)
        return np.asarray(
            [answer != shown and words[answer] in words[shown] for answer, shown in pairs]
        )

    what = "the last item's title contains the test item's whole title"
    return _against_chance("titles", what, is_contained, last)


def _against_chance(
    name: str, what: str, holds: Callable[[_PerUser], np.ndarray], last: _PerUser
) -> Leak:
    """Compares users' own last items with those of other users, by rotating the users."""
    users = len(last)
    measured = float(holds(last).mean())
    # An item is never its own user's answer, so chance does not count it for other users either.
    rotations = sorted({int(rotation) for rotation in np.linspace(1, max(1, users - 1), 10)})
    chance = float(np.mean([holds(np.roll(last, rotation)).mean() for rotation in rotations]))
    # One user's worth of chance, so that a rate that chance never showed can be exceeded.
    floor = max(chance, 1 / users)
    error = np.sqrt(floor * (1 - min(floor, 0.5)) / users)
    leaks = bool(measured >= _LEAST and measured > max(_LIFT * floor, floor + _Z * error))
    explanation = f"{what} for {measured:.2%} of {users:,} users ({chance:.2%} by chance)"
    return Leak(name, measured, users, explanation, chance, leaks)


def _duplicates_leak(test: UserSequences) -> Leak:
    """Users whose whole sequence is another user's: the one's training shows the other's answer."""
    sequences = {part.tobytes() for part in np.split(test.items, test.row_splits[1:-1])}
    users = len(test)
    fraction = (users - len(sequences)) / users
    explanation = (
        f"{fraction:.2%} of {users:,} users have another user's whole sequence"
        f" (more than {_DUPLICATED_FRACTION:.0%} leaks)"
    )
    leaks = fraction > _DUPLICATED_FRACTION
    return Leak("duplicated users", fraction, users, explanation, leaks=leaks)


def _sorted_leak(test: UserSequences, raw_ids: tuple[str, ...]) -> Leak:
    """Users whose test item has the highest (or lowest) of their raw IDs: of a log that was sorted
    by item before it was taken for one in time order, every model learns the direction."""
    numeric = all(map(str.isdecimal, raw_ids))
    order = sorted(range(len(raw_ids)), key=lambda i: int(raw_ids[i]) if numeric else raw_ids[i])
    rank = np.empty(len(raw_ids), np.int64)
    rank[order] = np.arange(len(raw_ids))
    ranks, starts = rank[test.items], test.row_splits[:-1].astype(np.int64)
    of_target = ranks[test.row_splits[1:] - 1]
    highest = float((of_target == np.maximum.reduceat(ranks, starts)).mean())
    lowest = float((of_target == np.minimum.reduceat(ranks, starts)).mean())
    chance = float((1 / np.diff(test.row_splits)).mean())
    measured, which = max((highest, "highest"), (lowest, "lowest"))
    leaks = measured > max(_SORTED_FRACTION, _LIFT * chance)
    explanation = (
        f"the test item's raw ID is the {which} of the user's for {measured:.2%} of {len(test):,}"
        f" users ({chance:.2%} by chance)"
        + (": the log is sorted by item, not by time" if leaks else "")
    )
    return Leak("order of raw IDs", measured, len(test), explanation, chance, leaks)


def _ties_leak(fraction: float, is_sorted: bool, users: int) -> Leak:
    """Users whose last two items have one timestamp: the file's order chose the test item, and a
    file sorted by item would let a model learn that order."""
    order = ", which puts them in the order of their IDs," if is_sorted else ""
    explanation = (
        f"the last two items of {fraction:.2%} of {users:,} users have the same timestamp, so that"
        f" the order of the file{order} decides which is asked (more than {_TIED_FRACTION:.0%}"
        " leaks)"
    )
    leaks, risk = fraction > _TIED_FRACTION, fraction >= (_LEAST if is_sorted else _TIED_RISK)
    return Leak("ties in time", fraction, users, explanation, leaks=leaks, risk=risk)


def _later_leak(fraction: float, users: int, split: str | None) -> Leak:
    """Test items that others' training parts hold after the test moment: what was popular later is
    known, which no recommender would at that moment."""
    way = "" if split == TEMPORAL else "; --split temporal trains on nothing later"
    explanation = (
        f"the test item of {fraction:.2%} of {users:,} users is in training parts of others after"
        f" the moment that is asked about{way}"
    )
    name, risk = "training after the test moment", fraction >= _LEAST
    return Leak(name, fraction, users, explanation, risk=risk)
