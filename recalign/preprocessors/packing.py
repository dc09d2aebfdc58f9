"""Rows of several examples: which example goes into which row, and the row that comes of it.

Examples stay whole. Those of a row do not see each other: segment ids tell them apart, and
positions start anew with each, both as SeqIO's and T5X's packed batches have them.

Shape letters: N examples, R rows, L the length of a row.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

LEFT_OUT = -1
"""The row of an example that found no room."""


def rows_of_examples(
    lengths: Mapping[str, Int[np.ndarray, " N"]],
    capacity: Mapping[str, int],
    rows: int,
    *,
    may_grow: bool = False,
) -> Int[np.ndarray, " N"]:
    """The row of each example: the longest first, each where it fits best.

    Where none has room: LEFT_OUT, or a new row.

    An example is as long as the largest share of a row that one of its features takes. It fits best
    where what is left of the row has most nearly its own proportions: so rows run out of inputs and
    of targets together. (First-fit left a fifth of the rows of next-item IDs empty.)

    >>> lengths = {"inputs": np.array([6, 4, 2, 2]), "targets": np.array([1, 2, 1, 2])}
    >>> rows_of_examples(lengths, {"inputs": 8, "targets": 4}, rows=2)
    array([0, 1, 1, 0])
    """
    names = list(capacity)
    size_NxF = np.stack([lengths[name] for name in names], axis=1).astype(np.int64)
    whole_F = np.array([capacity[name] for name in names], np.int64)
    share_NxF = size_NxF / whole_F
    order_N = np.argsort(-share_NxF.max(axis=1), kind="stable")
    row_N = np.full(len(size_NxF), LEFT_OUT)
    left_RxF = np.tile(whole_F, (len(size_NxF) if may_grow else rows, 1))
    for example in order_N:
        open_RxF = left_RxF[:rows]
        has_room_R = (open_RxF >= size_NxF[example]).all(axis=1)
        if has_room_R.any():
            left_share_RxF = open_RxF / whole_F
            norm_R = np.sqrt(np.square(left_share_RxF).sum(axis=1))
            alike_R = (left_share_RxF * share_NxF[example]).sum(axis=1) / np.maximum(norm_R, 1e-9)
            row = int(np.where(has_room_R, alike_R, -1.0).argmax())
        elif may_grow:
            row, rows = rows, rows + 1
        else:
            continue
        row_N[example] = row
        left_RxF[row] -= size_NxF[example]
    return row_N


def rows_needed(lengths: Mapping[str, Int[np.ndarray, " N"]], capacity: Mapping[str, int]) -> int:
    """How many rows hold all of the examples, each no longer than a row."""
    fewest = max(-(-int(lengths[name].sum()) // whole) for name, whole in capacity.items())
    return int(rows_of_examples(lengths, capacity, max(fewest, 1), may_grow=True).max()) + 1


def without_empty_rows(row_N: Int[np.ndarray, " N"], rows: int) -> Int[np.ndarray, " N"]:
    """Gives each empty row an example of a row that has most of them, while any has two.

    >>> without_empty_rows(np.array([0, 0, 0, 1]), 4)
    array([0, 3, 2, 1])
    """
    row_N = row_N.copy()
    examples_R = np.bincount(row_N[row_N != LEFT_OUT], minlength=rows)
    for empty in np.flatnonzero(examples_R == 0):
        giver = int(examples_R.argmax())
        if examples_R[giver] < 2:
            break
        row_N[np.flatnonzero(row_N == giver)[-1]] = empty
        examples_R[giver], examples_R[empty] = examples_R[giver] - 1, 1
    return row_N


def packed_rows(
    tokens: Mapping[str, Int[np.ndarray, "N _"]],
    row_N: Int[np.ndarray, " N"],
    capacity: Mapping[str, int],
    rows: int,
) -> dict[str, Int[np.ndarray, "R L"]]:
    """The rows' tokens, and for each feature its segment ids and positions, int32 [rows, capacity].

    For `inputs`: `inputs`, `inputs_segment_ids` (1, 2, …; 0 is padding) and `inputs_positions` (0,
    1, … in each example). The tokens given are padded on the right with 0; the examples of a row
    stand in their order there.
    """
    kept_M = np.flatnonzero(row_N != LEFT_OUT)
    kept_M = kept_M[np.argsort(row_N[kept_M], kind="stable")]
    row_M = row_N[kept_M]
    first_M = np.searchsorted(row_M, row_M)  # the first example of the same row
    segment_M = np.arange(len(row_M)) - first_M + 1
    packed = {}
    for name, length in capacity.items():
        tokens_MxL = tokens[name][kept_M]
        is_token_MxL = tokens_MxL != 0
        size_M = is_token_MxL.sum(axis=1)
        before_M = np.cumsum(size_M) - size_M
        start_M = before_M - before_M[first_M]
        position = np.broadcast_to(np.arange(tokens_MxL.shape[1]), tokens_MxL.shape)[is_token_MxL]
        place = (np.repeat(row_M, size_M), np.repeat(start_M, size_M) + position)
        for suffix, values in (
            ("", tokens_MxL[is_token_MxL]),
            ("_segment_ids", np.repeat(segment_M, size_M)),
            ("_positions", position),
        ):
            packed[name + suffix] = np.zeros((rows, length), np.int32)
            packed[name + suffix][place] = values
    return packed
