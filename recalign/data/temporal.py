"""Splits by time: what comes before one moment is trained on, and what users do after it is asked.

Leaving each user's last item out lets a model train on what others did after the moment that it is
asked about. Two moments for all users do not: training ends at the first, and the target is a
user's next item after it (validation) or after the second (test), all before it the history.
"""

import datetime
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64

from recalign.data.interactions import Interactions
from recalign.data.readers.builders import TIME_UNIT_BOUNDS
from recalign.data.readers.times import TimeFormat
from recalign.data.splits import Sequences, in_training
from recalign.errors import UserError

LEAVE_ONE_OUT, TEMPORAL = "leave_one_out", "temporal"
METHODS = (LEAVE_ONE_OUT, TEMPORAL)
"""What --split may be."""

_SHARES = (0.8, 0.9)
"""The shares of the interactions before the two moments, unless --cuts gives them."""

Cuts = tuple[float, float]


def check_split(method: str, cuts: Sequence[str]) -> None:
    """Raises a UserError for a way to split that is not there, and for moments without order."""
    if method not in METHODS:
        raise UserError(f"--split {method!r} is none of {', '.join(METHODS)}")
    if cuts and method != TEMPORAL:
        raise UserError("--cuts without --split temporal: only a split by time has moments")
    if cuts:
        moments = _seconds(cuts)
        if len(moments) != 2 or not moments[0] < moments[1]:
            raise UserError(
                f"--cuts {','.join(cuts)}: two moments are needed, the earlier one first, as in"
                " 2014-01-01,2014-04-01"
            )


def _seconds(cuts: Sequence[str]) -> list[float]:
    try:
        return [TimeFormat().seconds(cut) for cut in cuts]
    except ValueError as error:
        raise UserError(f"--cuts {','.join(cuts)}: {error}") from error


def find_cuts(time: Float64[np.ndarray, " n"], given: Sequence[str]) -> Cuts:
    """The two moments, in the log's own unit: those given as text, else those before which lie 80
    and 90 percent of all interactions. A UserError where they leave nothing on one side."""
    if given:
        unit = 1000.0 ** int(np.digitize(np.median(time), TIME_UNIT_BOUNDS))
        first, second = (
            # Numbers are in the log's unit, dates are not.
            float(cut) if cut.replace(".", "").isdecimal() else seconds * unit
            for cut, seconds in zip(given, _seconds(given), strict=True)
        )
    else:
        first, second = np.quantile(time, _SHARES, method="higher").tolist()
    if not time.min() < first < second <= time.max():
        raise UserError(
            f"--split temporal: the cuts {moment(first)} and {moment(second)} leave nothing on one"
            f" side of them: the log goes from {moment(time.min())} to {moment(time.max())};"
            " give --cuts"
        )
    return first, second


def moment(time: float) -> str:
    """A time for a person; a number where it is no moment of this age.

    >>> moment(1391126400000.0), moment(20140131.0)
    ('2014-01-31 00:00', '20140131')
    """
    seconds = time / 1000.0 ** int(np.digitize(time, TIME_UNIT_BOUNDS))
    if seconds < 1e8:
        return f"{time:.15g}"
    return f"{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%d %H:%M}"


def with_training(
    log: Interactions, kept: Int64[np.ndarray, " n"], first_cut: float, notes: list[str]
) -> Int64[np.ndarray, " m"]:
    """Those of `kept` whose user has something before the first cut; adds to the notes."""
    assert log.timestamp is not None
    early = np.zeros(len(log.user_ids), bool)
    early[log.user[kept[log.timestamp[kept] < first_cut]]] = True
    stays = kept[early[log.user[kept]]]
    if len(stays) < len(kept):
        late = len(np.unique(log.user[kept])) - int(early.sum())
        notes.append(
            f"{late:,} users without an item before the first cut dropped"
            f" ({len(kept) - len(stays):,} interactions)"
        )
    return stays


def shown_by_time(
    time: Float64[np.ndarray, " total"], row_splits: Int64[np.ndarray, " rows_and_one"], cuts: Cuts
) -> dict[str, Int64[np.ndarray, " rows"]]:
    """How many items of each row a split shows, the target among them; 0 for a row that has no
    target in it. A UserError where nobody has an item after a cut."""
    before = [np.add.reduceat((time < cut).astype(np.int64), row_splits[:-1]) for cut in cuts]
    lengths = np.diff(row_splits)
    shown = {
        "train": before[0],
        "validation": np.where(before[0] < before[1], before[0] + 1, 0),
        "test": np.where(before[1] < lengths, before[1] + 1, 0),
    }
    for split, cut in (("validation", cuts[0]), ("test", cuts[1])):
        if not shown[split].any():
            raise UserError(
                f"--split temporal: no user with an item before {moment(cuts[0])} has one for"
                f" {split} after {moment(cut)}: give other --cuts"
            )
    return shown


def _test_targets(sequences: Sequences) -> Int64[np.ndarray, " targets"]:
    """Where in `items` the test targets are."""
    shown = sequences.shown("test")
    rows = np.flatnonzero(shown)
    return sequences.row_splits[rows] + shown[rows] - 1


def split_notes(
    sequences: Sequences, train_counts: Int64[np.ndarray, " items"], cuts: Cuts
) -> list[str]:
    """What a person is told of a split by time."""
    targets = sequences.items[_test_targets(sequences)]
    asked, cold = len(targets), int((train_counts[targets] == 0).sum())
    return [
        f"split by time at {moment(cuts[0])} and {moment(cuts[1])}:"
        f" {len(sequences.users):,} users to train on,"
        f" {np.count_nonzero(sequences.shown('validation')):,} with a validation item,"
        f" {asked:,} with a test item",
        f"{(train_counts == 0).sum():,} of {len(train_counts):,} items are in no training part,"
        f" and so are {cold:,} of {asked:,} test items ({100 * cold / asked:.1f} %)",
    ]


def trained_later(
    sequences: Sequences, time: Float64[np.ndarray, " total"], number_of_items: int
) -> float:
    """The share of test items that others' training parts hold after the test moment."""
    latest = np.full(number_of_items, -np.inf)
    train = in_training(sequences)
    np.maximum.at(latest, sequences.items[train], time[train])
    target = _test_targets(sequences)
    # A user's own training is never after the own test moment.
    return float((latest[sequences.items[target]] > time[target]).mean())
