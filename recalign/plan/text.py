"""A plan as a person reads it, and as JSON."""

import dataclasses
from typing import Any

from recalign.plan.compilation import Compiled
from recalign.plan.planning import Plan
from recalign.plan.roofline import ASSUMPTIONS, Roofline, roofline


def as_json(plan: Plan) -> dict[str, Any]:
    """All figures: bytes and operations a chip, seconds a step."""
    own = (
        "packed", "batch_size", "decode_batch_size", "fits", "steps", "hours", "chip_hours",
        "examples_a_step", "chip_seconds_an_example", "gin",
    )  # fmt: skip
    return {
        "experiment": plan.name,
        "topology": plan.where.name,
        "chips": plan.where.chips,
        "chip": dataclasses.asdict(plan.where.chip) | {"available_bytes": plan.available},
        "layout": dataclasses.asdict(plan.layout),
        "sizes": dataclasses.asdict(plan.sizes),
        **{name: getattr(plan, name) for name in own},
        "train": _program(plan.train, plan) if plan.train else None,
        "decode": _program(plan.decode, plan) if plan.decode else None,
        "tokens_an_example": plan.filling and plan.filling.tokens,
        "filled": plan.filling and plan.filling.shares,
        "other": plan.other and dataclasses.asdict(plan.other),
        "tried": [
            dataclasses.asdict(one.layout)
            | {"estimated_seconds": one.estimated, "seconds": one.seconds, "reason": one.reason}
            for one in plan.tried
        ],
        "assumptions": list(ASSUMPTIONS),
    }


def _program(program: Compiled, plan: Plan) -> dict[str, Any]:
    times = roofline(program, plan.where)
    found: dict[str, Any] = {**dataclasses.asdict(program), "fits": program.fits}
    if times:
        derived = {name: getattr(times, name) for name in ("seconds", "utilisation", "bound")}
        found["roofline"] = dataclasses.asdict(times) | derived
    return found


def as_text(plan: Plan) -> str:
    """The verdict first, then where it comes from."""
    lines = [
        f"{plan.name} on {plan.where.name}: {plan.where.chips} chips, "
        f"{_gib(plan.available)} of HBM each for programs",
        f"  {', '.join(plan.layout.gin())}; a batch of {plan.batch_size}",
        "",
        _verdict(plan),
        *(f"  {line}" for line in plan.gin),
    ]
    if plan.hours is not None and plan.fits:
        lines.append(
            f"{plan.steps:,} steps take {plan.hours:,.1f} hours, {plan.chip_hours:,.0f} "
            "chip-hours, at the roofline."
        )
    lines += _tokens(plan)
    lines += ["", "Memory of a chip, by shapes", f"  parameters {_gib(plan.sizes.parameters):>22}"]
    if plan.train:
        lines += [
            f"  optimizer  {_gib(plan.sizes.optimizer):>22}",
            f"  gradients  {_gib(plan.sizes.gradients):>22}",
            f"  activations{_gib(plan.sizes.activations):>22}   estimated",
        ]
    for name, program in _programs(plan):
        lines += ["", *_describe(name, program, roofline(program, plan.where), plan.available)]
    if plan.tried:
        lines += ["", "Tried, the fastest first", "  compiled  estimated"]
        for one in plan.tried:
            times = f"{_milliseconds(one.seconds)}  {_milliseconds(one.estimated)}"
            lines.append(f"{times}  {', '.join(one.layout.gin())}: {one.reason}")
    return "\n".join([*lines, "", "Assumed", *(f"  - {line}" for line in ASSUMPTIONS)])


def _tokens(plan: Plan) -> list[str]:
    """What is paid for padding, and what packing would do about it, or does."""
    if plan.train is None:
        return []
    if plan.filling is None:
        return ["", f"What the tokens fill is not known: {plan.unread}"]
    tokens, shares = plan.filling.tokens, plan.filling.shares
    lines = [
        "",
        f"An example has {tokens['inputs']:,.0f} input and {tokens['targets']:,.0f} target tokens "
        f"on average, {shares['inputs']:.0%} and {shares['targets']:.0%} of a row",
    ]
    cost, other = plan.chip_seconds_an_example, plan.other
    if cost is None or other is None or plan.examples_a_step is None:
        return lines
    own, changed = ("packed", "unpacked") if plan.packed else ("unpacked", "packed")
    examples, their_cost = plan.steps * plan.examples_a_step, other.chip_seconds_an_example

    def line(what: str, a_step: float, an_example: float) -> str:
        return (
            f"  {what}: {a_step:,.1f} examples a step, {an_example * 1e3:,.1f} chip-ms an example, "
            f"{examples * an_example / 3600:,.1f} chip-hours"
        )

    better = changed if their_cost < cost else own
    share = min(cost, their_cost) / max(cost, their_cost)
    return [
        *lines,
        line(f"{own}, as compiled", plan.examples_a_step, cost),
        line(f"{changed}, as estimated", other.examples_a_step, their_cost),
        *(f"    {line}" for line in other.gin),
        f"  recommended: {better}, {share:.2f} of the other's chip-hours for the same "
        f"{examples:,.0f} examples",
    ]


def _programs(plan: Plan) -> list[tuple[str, Compiled]]:
    named = [
        ("train step", plan.train),
        (f"decode step, batch {plan.decode_batch_size}", plan.decode),
    ]
    return [(name, program) for name, program in named if program is not None]


def _describe(name: str, program: Compiled, times: Roofline | None, available: int) -> list[str]:
    title = f"{name[0].upper()}{name[1:]} (compiled in {program.seconds:.0f} s)"
    operations = f"  {_amount(program.flops, 'FLOP')} a chip"
    if times is None or program.peak is None:
        return [title, f"  does not fit: {program.refusal}", operations]
    return [
        title,
        f"  arguments  {_gib(program.arguments):>22}",
        f"  temporary  {_gib(program.temporary):>22}",
        f"  peak       {_gib(program.peak):>22}   "
        f"{program.peak / available:.0%} of {_gib(available)}",
        f"{operations}, {_amount(program.memory_bytes, 'B')} through memory, "
        f"{_amount(program.link_bytes, 'B')} over links",
        f"  {times.seconds * 1e3:.1f} ms at the roofline: arithmetic "
        f"{times.compute_seconds * 1e3:.1f}, memory {times.memory_seconds * 1e3:.1f}, links "
        f"{times.link_seconds * 1e3:.1f}; {times.utilisation:.0%} of the peak, most of it "
        f"{times.bound}",
    ]


def _verdict(plan: Plan) -> str:
    if plan.fits:
        fullest = max(_programs(plan), key=lambda named: named[1].peak or 0)
        peak = fullest[1].peak or 0
        return f"It fits: {_gib(peak)} of {_gib(plan.available)} in the {fullest[0]}." + (
            " To paste into the experiment:" if plan.gin else ""
        )
    if plan.tried and not any(one.seconds for one in plan.tried):
        return "Nothing tried fits: take more chips, or ones with more memory."
    name, program = next(named for named in _programs(plan) if not named[1].fits)
    advice = "" if plan.tried or not plan.train else "; --search looks for a layout that does"
    return f"It does not fit: the {name} needs too much memory{advice}. {program.refusal}"


def _milliseconds(seconds: float | None) -> str:
    return f"{seconds * 1e3:7,.0f} ms" if seconds else f"{'—':>10}"


def _gib(size: float | None) -> str:
    if size is None:
        return "?"
    return f"{size / 2**30:,.2f} GiB" if size >= 2**29 else f"{size / 2**20:,.1f} MiB"


def _amount(number: float | None, unit: str) -> str:
    """12_937_000_000_000 FLOP -> 12.9 TFLOP."""
    number = number or 0.0
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if number >= factor:
            return f"{number / factor:,.3g} {prefix}{unit}"
    return f"{number:,.0f} {unit}"
