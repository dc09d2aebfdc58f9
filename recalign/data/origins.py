"""What run.json says a run was made from, and what a difference from it means.

`_RULES` sorts them: the weights mean nothing with it (REFUSED), they were trained otherwise, but a
new run may start from them (ANEW), the user may go on by saying so (FORCED), or it is only told
(TOLD).
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from recalign.data import integrity
from recalign.errors import UserError

FILE = "run.json"
RUN = "run"
"""Of run.json and of a checkpoint's info: a digest of what the run began as."""
REFUSED, ANEW, FORCED, TOLD = "refused", "anew", "forced", "told"
# The first that matches a name counts; settings that are new are in nobody's way unseen.
_RULES = (
    (r"datasets/.*", REFUSED),
    (r"vocabulary/.*", REFUSED),
    (r"data_format", REFUSED),
    (r"model/(remat|unroll_layers)", TOLD),
    (r"model/(dtype|attention|float32_attention_logits)", FORCED),
    (r"model/.*|training/optimizer_name", REFUSED),
    (r"mixture|likes/.*|settings/.*|training/(batch_size|pack|seed|task_feature_lengths/.*)", ANEW),
    (r"training/(learning_rate.*|train_steps|warmup_steps|decay_factor|steps_per_cycle)", TOLD),
    (r"(decoding|versions)/.*", TOLD),
    (r".*", FORCED),
)
# What runs that began before do not have, and are no other for.
_LATER = ("likes/", "decoding/")
_MOST_NAMED = 3
# What run.json holds in place of words where a recalign of 26 November 2026 began the run.
_UNKNOWN_WORDS = integrity.digest_of(b"None ")


@dataclasses.dataclass(frozen=True)
class Difference:
    """A value that is another now than when the run was made; None where there is none."""

    name: str
    before: Any
    now: Any

    @property
    def rule(self) -> str:
        """What it means."""
        return next(rule for pattern, rule in _RULES if re.fullmatch(pattern, self.name))

    def __str__(self) -> str:
        return f"{self.name} was {_short(self.before)} and is {_short(self.now)}"


def read(directory: epath.Path) -> Mapping[str, Any] | None:
    """What a run was made from; None where an earlier recalign, or another tool, made it."""
    return read_file(directory).get("made_from")


def read_file(directory: epath.Path) -> Mapping[str, Any]:
    """All of run.json, empty where there is none; a UserError where it is damaged."""
    path = directory / FILE
    if not path.exists():
        return {}
    found = integrity.read_sealed(path)
    if not isinstance(found.get("made_from"), dict) or not isinstance(found.get("changes"), list):
        raise UserError(f'{path}: damaged: it lacks "made_from" or "changes"')
    return found


def check_own(directory: epath.Path, step: int | str, info: Mapping[str, Any]) -> None:
    """Raises a UserError for a checkpoint that another run saved than that in whose folder it lies.

    One that does not say so is from before 26 November 2026, or was converted, and passes.

    Args:
      directory: MODEL_DIR; without run.json nothing is compared.
      step: of the checkpoint.
      info: what it says of itself.
    """
    mark = info.get(RUN)
    if mark is None or not (run := read_file(directory)) or run.get(RUN) == mark:
        return
    raise UserError(
        f"{directory}: checkpoints/{step} was saved by another run than {FILE} is of: put the "
        "run's own back, or give the MODEL_DIR that it was saved in"
    )


def of_weights(path: str) -> Mapping[str, Any]:
    """The objects of what a run was made from that weights are of; empty where nothing is known.

    `path` is a MODEL_DIR, one of its `checkpoints/STEP`, or any other weights.
    """
    folder = epath.Path(path)
    run = folder.parent.parent if folder.parent.name == "checkpoints" else folder
    found = read(run) or {}
    return {name: part for name, part in found.items() if isinstance(part, dict)}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """What is another, by name, nested names joined by a slash."""
    one, other = dict(flat(before)), dict(flat(now))
    return [
        Difference(name, one.get(name), other.get(name))
        for name in (*one, *(name for name in other if name not in one))
        if one.get(name) not in (other.get(name), _UNKNOWN_WORDS)
        and (name in one or not name.startswith(_LATER))
    ]


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value with its name, nested names joined by a slash."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value


def in_words(found: Sequence[Difference]) -> str:
    """The first few, with both values."""
    more = len(found) - _MOST_NAMED
    shown = "; ".join(map(str, found[:_MOST_NAMED]))
    return f"{shown}; and {more} more" if more > 0 else shown


def plain(value: Any) -> Any:
    """As JSON gives it back: tuples are lists."""
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value


def _short(value: Any) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) and value else repr(value)
    return f"{text[:12]}…" if re.fullmatch(r"[0-9a-f]{40,}", text) else text[:80]
