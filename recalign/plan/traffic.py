"""Reads from a compiled program how much it moves: through its memory and over its links.

XLA's own analysis counts a loop's body once; here every turn counts. Arrays that the compiler
keeps in a core's own memory (memory space 1 and above) do not count as moved.
"""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence

_SHAPE = re.compile(r"([a-z]\w*)\[([\d,]*)\](\{[^}]*\})?")
_ELSEWHERE = re.compile(r"S\([1-9]\d*\)")
_BYTES = {
    "pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2,
    "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8,
}  # fmt: skip
_NAMES = {"parameter", "constant", "get-tuple-element", "tuple", "bitcast", "after-all"}
_PARTS = {"dynamic-slice", "slice", "gather"}
# Custom calls that only give a name to what is there.
_NAMING_CALLS = ("AllocateBuffer", "AssumeGatherIndicesInBound", "ConcatBitcast")
_COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")


@dataclasses.dataclass(frozen=True)
class Traffic:
    """Bytes a chip moves in a run of the program."""

    memory_bytes: float = 0.0  # between its memory (HBM) and its cores
    link_bytes: float = 0.0  # over its links, by algorithms on rings

    def __add__(self, other: "Traffic") -> "Traffic":
        return Traffic(self.memory_bytes + other.memory_bytes, self.link_bytes + other.link_bytes)

    def times(self, turns: int) -> "Traffic":
        return Traffic(self.memory_bytes * turns, self.link_bytes * turns)


@dataclasses.dataclass(frozen=True)
class _Array:
    size: float
    in_memory: bool

    @property
    def moved(self) -> float:
        return self.size if self.in_memory else 0.0


@dataclasses.dataclass(frozen=True)
class _Instruction:
    name: str
    opcode: str
    arrays: tuple[_Array, ...]  # what it makes; several for a tuple
    operands: tuple[str, ...]
    text: str
    is_root: bool

    @property
    def size(self) -> float:
        return sum(array.size for array in self.arrays)

    @property
    def moved(self) -> float:
        return sum(array.moved for array in self.arrays)

    def attribute(self, name: str) -> str:
        found = re.search(rf'\b{name}="?%?([^\s,"]+)', self.text)
        return found[1] if found else ""


_Computation = Mapping[str, _Instruction]


def traffic(hlo_text: str, *, while_turns: int = 1) -> Traffic:
    """What a run of a compiled program moves, by its text; `while_turns`: see `matmul_flops`."""
    computations, entry = _parse(hlo_text)
    known: dict[str, Traffic] = {}

    def of_computation(name: str) -> Traffic:
        if name not in known:
            total = Traffic()
            for instruction in computations[name].values():
                total += of_instruction(instruction, computations[name])
            known[name] = total
        return known[name]

    def of_instruction(instruction: _Instruction, around: _Computation) -> Traffic:
        opcode = instruction.opcode
        if opcode in _NAMES or opcode.endswith("-done"):
            return Traffic()
        if opcode == "while":
            turns = _turns(computations[instruction.attribute("condition")], while_turns)
            return of_computation(instruction.attribute("body")).times(turns)
        if opcode == "call":
            return of_computation(instruction.attribute("to_apply"))
        if opcode == "conditional":
            branches = re.findall(r"%([\w.-]+)", instruction.text.split("branch_comp")[-1])
            costs = [of_computation(name) for name in branches if name in computations]
            return max(costs, key=lambda cost: cost.memory_bytes, default=Traffic())
        operands = [around[name] for name in instruction.operands if name in around]
        if opcode == "fusion":
            inside = computations[instruction.attribute("calls")]
            links = sum(_begun_inside(started, inside) for started in inside.values())
            return Traffic(_of_fusion(instruction, operands, computations), links)
        return Traffic(_of_plain(instruction, operands), _over_links(instruction, operands))

    return of_computation(entry)


def _turns(condition: _Computation, otherwise: int) -> int:
    """`counter < N` -> N; a condition that asks for more is not known beforehand."""
    asked = [i for i in condition.values() if i.opcode not in _NAMES]
    bounds = [re.search(r"constant\((\d+)\)", i.text) for i in condition.values()]
    known = [int(bound[1]) for bound in bounds if bound]
    if len(asked) == 1 and asked[0].attribute("direction") == "LT" and len(known) == 1:
        return known[0]
    return otherwise


def _of_plain(instruction: _Instruction, operands: Sequence[_Instruction]) -> float:
    opcode = instruction.opcode
    if opcode in ("copy-start", "slice-start"):
        # Makes (to, from, …): as much as the smaller holds is read and written.
        real = [array for array in instruction.arrays if array.size > 4]
        least = min((array.size for array in real), default=0.0)
        return least * sum(array.in_memory for array in real)
    if instruction.attribute("custom_call_target") in _NAMING_CALLS:
        return 0.0
    if opcode in _PARTS and operands:
        return instruction.moved + min(instruction.size, operands[0].moved)
    if opcode in ("dynamic-update-slice", "scatter") and len(operands) > 1:
        update = operands[-1] if opcode == "scatter" else operands[1]
        return update.moved + (update.size if instruction.moved else 0.0)
    if opcode.endswith("-start"):
        return 2 * sum(operand.moved for operand in operands)
    return instruction.moved + sum(operand.moved for operand in operands)


def _of_fusion(
    instruction: _Instruction,
    operands: Sequence[_Instruction],
    computations: Mapping[str, _Computation],
) -> float:
    """What goes in and out of a fusion; of an array it reads or writes a part of, that part."""
    inside = computations[instruction.attribute("calls")]
    parameters = _parameters(inside)
    total = 0.0
    for number, operand in enumerate(operands):
        if operand.moved:
            read = _part_read(parameters.get(number, ""), inside, operand.size, computations)
            total += min(operand.moved, read)
    roots = [i for i in inside.values() if i.is_root]
    if roots and roots[0].opcode == "tuple":
        roots = [inside[name] for name in roots[0].operands]
    for root, array in zip(roots, instruction.arrays, strict=False):
        if array.in_memory:
            total += _part_written(root, inside, computations)
    return total


def _parameters(computation: _Computation) -> dict[int, str]:
    return {
        int(i.text.split("parameter(")[1].split(")")[0]): i.name
        for i in computation.values()
        if i.opcode == "parameter"
    }


def _part_read(
    parameter: str, inside: _Computation, size: float, computations: Mapping[str, _Computation]
) -> float:
    """Of an array of `size` bytes that a fusion is given; a fusion within it may take the part."""
    names, total = {parameter}, 0.0
    for user in inside.values():  # in an order in which what is used stands before its users
        if not names.intersection(user.operands):
            continue
        if user.opcode == "bitcast":
            names.add(user.name)
        elif user.opcode in _PARTS and user.operands[0] in names:
            total += user.size
        elif user.opcode == "fusion":
            within = computations[user.attribute("calls")]
            taken = _parameters(within)
            total += sum(
                _part_read(taken[number], within, size, computations)
                for number, name in enumerate(user.operands)
                if name in names
            )
        elif not (user.opcode == "dynamic-update-slice" and user.operands[0] in names):
            return size
    return total


def _part_written(
    root: _Instruction, inside: _Computation, computations: Mapping[str, _Computation]
) -> float:
    while root.opcode == "bitcast":
        root = inside[root.operands[0]]
    if root.opcode == "dynamic-update-slice":
        return inside[root.operands[1]].size
    if root.opcode == "fusion":
        within = computations[root.attribute("calls")]
        (last,) = (i for i in within.values() if i.is_root)
        if last.opcode != "tuple":
            return _part_written(last, within, computations)
    return root.size


def _begun_inside(instruction: _Instruction, inside: _Computation) -> float:
    """A collective that a fusion begins, while it computes something else, goes over the links."""
    if instruction.attribute("custom_call_target") != "AsyncCollectiveStart":
        return 0.0
    begun = [inside[name] for name in instruction.operands if name in inside]
    return sum(
        _over_links(one, [inside[name] for name in one.operands if name in inside]) for one in begun
    )


def _over_links(instruction: _Instruction, operands: Sequence[_Instruction]) -> float:
    kind = instruction.opcode.removesuffix("-start")
    if kind not in _COLLECTIVES:
        return 0.0
    given = sum(operand.size for operand in operands)
    if kind == "collective-permute":
        return given
    members = _group_size(instruction.text)
    share = (members - 1) / members
    if kind == "all-reduce":
        return 2 * share * given
    return share * given * (members if kind == "all-gather" else 1)


def _group_size(text: str) -> int:
    """replica_groups=[4,2]<=[8], ={{0,1},{2,3}} and =mesh['x'=4,'y'=2] {'y'} are groups of 2."""
    if found := re.search(r"replica_groups=\[\d+,(\d+)\]", text):
        return int(found[1])
    if found := re.search(r"replica_groups=mesh\[([^\]]*)\][^{]*\{([^}]*)\}", text):
        sizes = dict(re.findall(r"('\w+')=(\d+)", found[1]))
        # 'x':(2)4 is a part of an axis: the next 4 after its first 2.
        among = re.findall(r"('\w+')(?::\(\d+\)(\d+))?", found[2])
        return math.prod(int(part or sizes[axis]) for axis, part in among)
    found = re.search(r"replica_groups=\{\{([\d,]*)\}", text)
    return len(found[1].split(",")) if found else 1


# Text -> instructions -----------------------------------------------------------------------------


def _parse(text: str) -> tuple[dict[str, dict[str, _Instruction]], str]:
    computations: dict[str, dict[str, _Instruction]] = {}
    entry, current = "", None
    for line in text.splitlines():
        if line.startswith(("%", "ENTRY ")) and line.endswith("{"):
            name = line.removeprefix("ENTRY ").split(" ")[0].lstrip("%")
            current = computations.setdefault(name, {})
            entry = name if line.startswith("ENTRY ") else entry
        elif line.startswith("}"):
            current = None
        elif current is not None and " = " in line:
            instruction = _instruction(line.strip())
            current[instruction.name] = instruction
    return computations, entry


def _instruction(line: str) -> _Instruction:
    name, _, rest = line.partition(" = ")
    end = _closing(rest) + 1 if rest.startswith("(") else rest.index(" ")
    made, called = rest[:end], rest[end:].lstrip()
    opcode = called[: called.index("(")]
    closed = called.index("(") + _closing(called[called.index("(") :])
    return _Instruction(
        name=name.removeprefix("ROOT ").lstrip("%"),
        opcode=opcode,
        arrays=tuple(_array(found) for found in _SHAPE.finditer(made)),
        operands=tuple(re.findall(r"%([\w.-]+)", called[:closed])),
        text=called,
        is_root=name.startswith("ROOT "),
    )


def _closing(text: str) -> int:
    depth = 0
    for place, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return place
    return len(text)


def _array(found: re.Match[str]) -> _Array:
    size = float(_BYTES.get(found[1], 1))
    for side in filter(None, found[2].split(",")):
        size *= int(side)
    return _Array(size, not _ELSEWHERE.search(found[3] or ""))
