"""A plan as a person reads it, and as JSON."""

import dataclasses
from typing import Any

from recalign.plan.compilation import Compiled
from recalign.plan.planning import Plan
from recalign.plan.roofline import ASSUMPTIONS, Roofline, roofline


def as_json(plan: Plan) -> dict[str, Any]:
    """All figures: bytes and operations a chip, seconds a step."""
    chip = dataclasses.asdict(plan.where.chip)
    return {
        "experiment": plan.name,
        "topology": plan.where.name,
        "chips": plan.where.chips,
        "chip": {**chip, "available_bytes": plan.available},
        "layout": dataclasses.asdict(plan.layout),
        "batch_size": plan.batch_size,
        "decode_batch_size": plan.decode_batch_size,
        "fits": plan.fits,
        "sizes": dataclasses.asdict(plan.sizes),
        "train": _program(plan.train, plan),
        "decode": _program(plan.decode, plan) if plan.decode else None,
        "steps": plan.steps,
        "hours": plan.hours,
        "chip_hours": plan.chip_hours,
        "tried": [
            {**dataclasses.asdict(one.layout), "seconds": one.seconds, "reason": one.reason}
            for one in plan.tried
        ],
        "gin": plan.gin,
        "assumptions": list(ASSUMPTIONS),
    }


def _program(program: Compiled, plan: Plan) -> dict[str, Any]:
    times = roofline(program, plan.where)
    found: dict[str, Any] = {**dataclasses.asdict(program), "fits": program.fits}
    if times:
        found["roofline"] = {
            **dataclasses.asdict(times),
            "seconds": times.seconds,
            "utilisation": times.utilisation,
            "bound": times.bound,
        }
    return found


def as_text(plan: Plan) -> str:
    """The plan in some thirty lines."""
    lines = [
        f"{plan.name} on {plan.where.name}: {plan.where.chips} chips, "
        f"{_gib(plan.available)} of HBM each for programs",
        f"  {', '.join(plan.layout.gin())}; a batch of {plan.batch_size}",
        "",
        "Memory of a chip",
        f"  parameters                 {_gib(plan.sizes.parameters):>12}",
        f"  optimizer                  {_gib(plan.sizes.optimizer):>12}",
        f"  gradients                  {_gib(plan.sizes.gradients):>12}",
        f"  activations                {_gib(plan.sizes.activations):>12}   estimated",
    ]
    programs = [("train step", plan.train)]
    if plan.decode:
        programs.append((f"decode step, batch {plan.decode_batch_size}", plan.decode))
    for name, program in programs:
        lines += ["", *_describe(name, program, roofline(program, plan.where), plan.available)]
    if plan.hours is not None:
        lines += [
            "",
            f"{plan.steps:,} steps: {plan.hours:,.1f} hours, {plan.chip_hours:,.0f} chip-hours "
            "(at the roofline)",
        ]
    if plan.tried:
        lines += ["", "Tried, the fastest first"]
        for one in plan.tried:
            time = f"{one.seconds * 1e3:8.1f} ms" if one.seconds else "no fit".rjust(11)
            lines.append(f"  {time}  {', '.join(one.layout.gin())}: {one.reason}")
    lines += ["", _verdict(plan)]
    if plan.gin:
        lines += ["", *plan.gin]
    return "\n".join([*lines, "", "Assumed", *(f"  - {line}" for line in ASSUMPTIONS)])


def _describe(name: str, program: Compiled, times: Roofline | None, available: int) -> list[str]:
    title = f"{name[0].upper()}{name[1:]} (compiled in {program.seconds:.0f} s)"
    operations = f"  {program.flops / 1e12:.3f} TFLOP a chip"
    if times is None or program.peak is None:
        return [title, f"  does not fit: {program.refusal}", operations]
    return [
        title,
        f"  arguments                  {_gib(program.arguments):>12}",
        f"  temporary                  {_gib(program.temporary):>12}",
        f"  peak                       {_gib(program.peak):>12}   "
        f"{program.peak / available:.0%} of {_gib(available)}",
        f"{operations}, {(program.memory_bytes or 0) / 1e9:.1f} GB through memory, "
        f"{(program.link_bytes or 0) / 1e9:.2f} GB over links",
        f"  {times.seconds * 1e3:.1f} ms at the roofline: arithmetic "
        f"{times.compute_seconds * 1e3:.1f}, memory {times.memory_seconds * 1e3:.1f}, links "
        f"{times.link_seconds * 1e3:.1f}; {times.utilisation:.0%} of the peak, most of it "
        f"{times.bound}",
        f"  loops counted once: {program.flops_loops_once / 1e12:.3f} TFLOP here, "
        f"{(program.xla_flops or 0) / 1e12:.3f} by XLA, which counts all that is no product too",
    ]


def _verdict(plan: Plan) -> str:
    if plan.fits:
        return "It fits." + (" To paste into the experiment:" if plan.gin else "")
    if plan.tried and not any(one.seconds for one in plan.tried):
        return "Nothing tried fits: take more chips or ones with more memory."
    at_fault = "train step" if not plan.train.fits else "decode step"
    advice = "" if plan.tried else "; --search looks for a layout that does"
    return f"It does not fit: the {at_fault} needs too much memory{advice}."


def _gib(size: float | None) -> str:
    return "?" if size is None else f"{size / 2**30:,.2f} GiB"
