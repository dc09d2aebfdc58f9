"""The input lengths that an evaluation pads its examples to: few, because each is compiled."""

import numpy as np
from jaxtyping import Int

# Lengths come in so many steps up to the longest, so that splits of like examples, as validation
# and test, choose the same ones and share their compiled programs.
_STEPS = 16
# What a length has to save, in batches of the longest examples, for its program to be worth it.
_WORTH_COMPILING = 8


def chosen_lengths(lengths_N: Int[np.ndarray, " N"], longest: int, batch_size: int) -> list[int]:
    """The lengths with the fewest places in all batches, ascending.

    A batch holds `batch_size` examples, the last of a length fewer, and takes as many places
    though; a length more costs as much as some batches. No example is longer than `longest`.

    >>> chosen_lengths(np.array([10] * 100 + [30] * 3 + [40] * 2), 64, 1)
    [16, 40]
    """
    step = -(-longest // (8 * _STEPS)) * 8
    grid_G = np.minimum(np.arange(step, longest + step, step), longest)
    # How many examples are no longer than each.
    fit_G = np.searchsorted(np.sort(lengths_N), grid_G, side="right")
    used = int(np.argmax(fit_G == len(lengths_N))) + 1
    worth = _WORTH_COMPILING * batch_size * int(grid_G[used - 1])
    # The cheapest way to pad all examples up to a length, which is the last chosen.
    cost: list[int] = [0]
    choice: list[list[int]] = [[]]
    for last in range(1, used + 1):
        options = []
        for before in range(last):
            inside = int(fit_G[last - 1]) - (int(fit_G[before - 1]) if before else 0)
            batches = -(-inside // batch_size)
            options.append(cost[before] + worth + batches * batch_size * int(grid_G[last - 1]))
        best = int(np.argmin(options))
        cost.append(options[best])
        choice.append([*choice[best], int(grid_G[last - 1])])
    return choice[used]


def share_of_padding(lengths_N: Int[np.ndarray, " N"], chosen: list[int], batch_size: int) -> float:
    """Of the places of all batches, those without a token."""
    chosen_N = np.searchsorted(chosen, lengths_N)
    batches = -(-np.bincount(chosen_N, minlength=len(chosen)) // batch_size)
    return 1 - float(lengths_N.sum()) / float((batches * batch_size) @ np.array(chosen))


def describe_padding(lengths_N: Int[np.ndarray, " N"], longest: int, batch_size: int) -> str:
    """
    >>> describe_padding(np.array([10] * 100 + [30] * 3 + [40] * 2), 64, 1)
    'inputs are padded to 16 or 40 tokens; padding takes 35% of the places'
    """
    chosen = chosen_lengths(lengths_N, longest, batch_size)
    share = share_of_padding(lengths_N, chosen, batch_size)
    lengths = " or ".join(f"{length:,}" for length in chosen)
    return f"inputs are padded to {lengths} tokens; padding takes {share:.0%} of the places"
