"""What a compiled program moves, read from text of the compiler's kind, counted by hand."""

import pytest

from recalign.plan.traffic import Traffic, traffic

ADD = """
%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[]{:T(128)} parameter(0)
  %y = f32[]{:T(128)} parameter(1)
  ROOT %sum = f32[]{:T(128)} add(%x, %y)
}
"""
LOOP = """
%body (state: (s32[], f32[6,4,8])) -> (s32[], f32[6,4,8]) {
  %state = (s32[]{:T(128)}, f32[6,4,8]{2,1,0:T(8,128)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%state), index=0
  %stack = f32[6,4,8]{2,1,0:T(8,128)} get-tuple-element(%state), index=1
  %fusion.1 = f32[6,4,8]{2,1,0:T(8,128)} fusion(%stack, %i), kind=kLoop, calls=%doubled
  ROOT %next = (s32[]{:T(128)}, f32[6,4,8]{2,1,0:T(8,128)}) tuple(%i, %fusion.1)
}

%doubled (stack.1: f32[6,4,8], i.1: s32[]) -> f32[6,4,8] {
  %stack.1 = f32[6,4,8]{2,1,0:T(8,128)} parameter(0)
  %i.1 = s32[]{:T(128)} parameter(1)
  %zero = s32[]{:T(128)} constant(0)
  %row = f32[1,4,8]{2,1,0:T(8,128)} dynamic-slice(%stack.1, %i.1, %zero, %zero)
  %twice = f32[1,4,8]{2,1,0:T(8,128)} add(%row, %row)
  ROOT %written = f32[6,4,8]{2,1,0} dynamic-update-slice(%stack.1, %twice, %i.1, %zero, %zero)
}
"""
CONDITION = """
%condition (state.2: (s32[], f32[6,4,8])) -> pred[] {
  %state.2 = (s32[]{:T(128)}, f32[6,4,8]{2,1,0:T(8,128)}) parameter(0)
  %i.2 = s32[]{:T(128)} get-tuple-element(%state.2), index=0
  %turns = s32[]{:T(128)} constant(6)
  ROOT %less = pred[]{:T(512)} compare(%i.2, %turns), direction=LT
}
"""
UNKNOWN = CONDITION.replace("  ROOT", "  %going = pred[]{:T(512)} not(%less)\n  ROOT").replace(
    "ROOT %less", "%less"
)
ENTRY = """
ENTRY %main (given: (s32[], f32[6,4,8])) -> (s32[], f32[6,4,8]) {
  %given = (s32[]{:T(128)}, f32[6,4,8]{2,1,0:T(8,128)}) parameter(0)
  ROOT %loop = (s32[]{:T(128)}, f32[6,4,8]{2,1,0}) while(%given), condition=%condition, body=%body
}
"""


def entry(*lines: str) -> str:
    """A program whose parameter is bf16[8,16] in HBM: 256 bytes."""
    body = "\n".join(f"  {line}" for line in lines)
    return (
        f"{ADD}\nENTRY %main (p: bf16[8,16]) -> bf16[8,16] {{\n"
        f"  %p = bf16[8,16]{{1,0:T(8,128)(2,1)}} parameter(0)\n{body}\n}}\n"
    )


def test_a_loop_moves_one_row_in_and_out_a_turn():
    row, counter = 4 * 8 * 4, 4
    found = traffic(LOOP + CONDITION + ENTRY)
    assert found == Traffic(6 * (2 * row + counter), 0.0)


def test_a_loop_without_a_known_end_takes_the_turns_it_is_given():
    once = traffic(LOOP + UNKNOWN + ENTRY)
    assert traffic(LOOP + UNKNOWN + ENTRY, while_turns=9).memory_bytes == 9 * once.memory_bytes


def test_what_stays_in_the_cores_own_memory_is_not_moved():
    moved = traffic(
        entry(
            "%near = bf16[8,16]{1,0:T(8,128)(2,1)S(1)} negate(%p)",
            "ROOT %far = bf16[8,16]{1,0:T(8,128)(2,1)} negate(%near)",
        )
    )
    assert moved.memory_bytes == 2 * 256


def test_a_copy_to_the_cores_own_memory_reads_once():
    moved = traffic(
        entry(
            "%copy-start = (bf16[8,16]{1,0:S(1)}, bf16[8,16]{1,0}, u32[]{:S(2)}) copy-start(%p)",
            "ROOT %copy-done = bf16[8,16]{1,0:S(1)} copy-done(%copy-start)",
        )
    )
    assert moved.memory_bytes == 256


@pytest.mark.parametrize(
    ("call", "bytes_over_links"),
    [
        ("all-reduce(%p), replica_groups=[2,4]<=[8], to_apply=%add", 2 * 3 / 4 * 256),
        ("all-reduce(%p), replica_groups={{0,2},{1,3}}, to_apply=%add", 2 * 1 / 2 * 256),
        ("all-reduce(%p), replica_groups=mesh['x'=2,'y'=4] {'y'}, to_apply=%add", 2 * 3 / 4 * 256),
        ("all-reduce(%p), replica_groups=mesh['x'=8] {'x':(2)4}, to_apply=%add", 2 * 3 / 4 * 256),
        ("all-gather(%p), replica_groups=[2,4]<=[8], dimensions={0}", 3 * 256),
        ("reduce-scatter(%p), replica_groups=[2,4]<=[8], to_apply=%add", 3 / 4 * 256),
        ("collective-permute(%p), source_target_pairs={{0,1},{1,0}}", 256),
        ("negate(%p)", 0),
    ],
)
def test_collectives_by_the_ring_algorithm(call, bytes_over_links):
    moved = traffic(entry(f"ROOT %out = bf16[8,16]{{1,0:T(8,128)(2,1)}} {call}"))
    assert moved.link_bytes == bytes_over_links


WITHIN = """
%chosen (stack.2: f32[6,4,8], i.2: s32[]) -> f32[4,8] {
  %stack.2 = f32[6,4,8]{2,1,0:T(8,128)} parameter(0)
  %i.2 = s32[]{:T(128)} parameter(1)
  %zero.2 = s32[]{:T(128)} constant(0)
  %row.2 = f32[1,4,8]{2,1,0} dynamic-slice(%stack.2, %i.2, %zero.2, %zero.2)
  ROOT %flat = f32[4,8]{1,0} bitcast(%row.2)
}

%product (stack.3: f32[6,4,8], i.3: s32[], x: f32[8,4]) -> f32[4,4] {
  %stack.3 = f32[6,4,8]{2,1,0:T(8,128)} parameter(0)
  %i.3 = s32[]{:T(128)} parameter(1)
  %x = f32[8,4]{1,0:T(8,128)} parameter(2)
  %fusion.2 = f32[4,8]{1,0} fusion(%stack.3, %i.3), kind=kLoop, calls=%chosen
  ROOT %made = f32[4,4]{1,0:T(8,128)} convolution(%fusion.2, %x), dim_labels=bf_io->bf
}

ENTRY %main (stack.4: f32[6,4,8], i.4: s32[], x.4: f32[8,4]) -> f32[4,4] {
  %stack.4 = f32[6,4,8]{2,1,0:T(8,128)} parameter(0)
  %i.4 = s32[]{:T(128)} parameter(1)
  %x.4 = f32[8,4]{1,0:T(8,128)} parameter(2)
  ROOT %out = f32[4,4]{1,0} fusion(%stack.4, %i.4, %x.4), kind=kOutput, calls=%product
}
"""


def test_a_fusion_within_a_fusion_may_take_one_row_of_a_stack():
    row, counter, x, made = 4 * 8 * 4, 4, 8 * 4 * 4, 4 * 4 * 4
    assert traffic(WITHIN).memory_bytes == row + counter + x + made


def test_a_collective_that_a_fusion_begins_goes_over_the_links():
    begun = """
%begun (p.1: bf16[8,16]) -> (bf16[32,16]) {
  %p.1 = bf16[8,16]{1,0:T(8,128)(2,1)} parameter(0)
  %all-gather = bf16[32,16]{1,0} all-gather(%p.1), replica_groups=[2,4]<=[8], dimensions={0}
  ROOT %s = (bf16[32,16]) custom-call(%all-gather), custom_call_target="AsyncCollectiveStart"
}
"""
    call = "ROOT %f = (bf16[32,16]) fusion(%p), kind=kCustom, calls=%begun"
    assert traffic(begun + entry(call)).link_bytes == 3 * 256
