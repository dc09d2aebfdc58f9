"""The accelerators' benchmark, in small on this machine."""

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recalign.model.t5.config import T5Config
from recalign.model.t5.transformer import Transformer
from recalign.plan.compilation import matmul_flops
from recalign.preprocessors.packing import packed_rows

CAPACITY = {"inputs": 48, "targets": 12}
SIZES = [(30, 3), (10, 4), (20, 2), (25, 6), (40, 3), (8, 3)]
ROWS = np.array([0, 0, 1, 1, 2, 2])


@pytest.fixture(scope="module")
def benchmark():
    path = Path(__file__).parent / "benchmarks" / "accelerator.py"
    spec = importlib.util.spec_from_file_location("accelerator", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["accelerator"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["accelerator"]


@pytest.fixture(scope="module")
def batches():
    draws = np.random.default_rng(0)
    one = {
        name: np.stack(
            [
                np.where(np.arange(length) < size[place], draws.integers(2, 500, length), 0)
                for size in SIZES
            ]
        )
        for place, (name, length) in enumerate(CAPACITY.items())
    }
    packed = packed_rows(one, ROWS, CAPACITY, 3)
    return {
        "mixture": "made_up",
        "prompts": one["inputs"][:2],
        **{f"one/{name}": rows for name, rows in one.items()},
        **{f"packed/{name}": rows for name, rows in packed.items() if "position" not in name},
    }


@pytest.mark.usefixtures("quick_compilation")
def test_lines_of_json(benchmark, batches, tmp_path, monkeypatch, capsys):
    file = tmp_path / "batches.npz"
    np.savez(file, **batches)
    tiny = benchmark.SIZES["tiny"]
    config = dataclasses.replace(tiny.config, vocab_size=2048)
    monkeypatch.setitem(benchmark.SIZES, "tiny", dataclasses.replace(tiny, config=config))
    arguments = f"accelerator.py {file} --sizes tiny --measured_seconds 0 --budget_seconds 1000"
    monkeypatch.setattr(sys, "argv", arguments.split())
    benchmark.main()
    lines = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    of = {
        what: [it for it in lines if it["what"] == what] for what in ("device", "train", "decode")
    }
    assert of["device"][0]["kind"] == jax.devices()[0].device_kind
    assert of["device"][0]["examples_per_packed_row"] == 2
    packed = [it for it in of["train"] if it["rows"] == "packed"]
    (one,) = [it for it in of["train"] if it["rows"] == "one"]
    assert [it["attention"] for it in packed] == [None, "xla"]
    # The tiny size has two rows a step: of three packed rows the first two are taken.
    assert packed[0]["examples_a_step"] == 4 and one["examples_a_step"] == 2
    for it, tokens in ((packed[0], 100 / 4), (packed[1], 100 / 4), (one, 154 / 6)):
        assert it["loss_is_finite"] and it["program_bytes"] > 0
        assert it["tokens_per_second"] / it["examples_per_second"] == pytest.approx(
            tokens, rel=1e-3
        )
    ours = [it for it in of["decode"] if it["engine"] == "recalign"]
    assert [it["search"] for it in ours] == ["free", "constrained"]


def test_what_the_budget_has_no_time_for_is_named(
    benchmark, batches, tmp_path, monkeypatch, capsys
):
    file = tmp_path / "batches.npz"
    np.savez(file, **batches)
    monkeypatch.setattr(sys, "argv", f"accelerator.py {file} --sizes xl --budget_seconds 1".split())
    benchmark.main()
    lines = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [it["what"] for it in lines] == ["device", *["skipped"] * 4]
    assert {it["size"] for it in lines[1:]} == {"xl"}


def test_lengths_of_packed_examples_are_those_of_plain_rows(benchmark, batches):
    for rows in ("one", "packed"):
        found = benchmark.example_lengths(benchmark.batch_of(batches, rows))
        assert sorted(map(tuple, found.tolist())) == sorted(SIZES)


def test_arithmetic_is_what_the_network_does(benchmark):
    """But for the products that look biases up by distance, which are no work of the model's."""
    config = T5Config(
        vocab_size=640, emb_dim=48, num_heads=3, num_encoder_layers=2, num_decoder_layers=3,
        head_dim=16, mlp_dim=80,
    )  # fmt: skip
    inputs, targets = jnp.ones((4, 40), jnp.int32), jnp.ones((4, 12), jnp.int32)
    model = Transformer(config)
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), inputs, targets))
    traced = jax.jit(lambda p: model.apply(p, inputs, targets)).trace(params)
    looked_up = 2 * config.num_heads * 32 * (40 * 40 + 12 * 12)
    counted = benchmark.forward_flops(config, np.tile([40, 12], (4, 1)))
    assert matmul_flops(traced.jaxpr) == counted + looked_up


@pytest.mark.parametrize(
    ("kind", "peak"),
    [
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40", 181e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA H200", 989e12),
        ("TPU v5 lite", 197e12),
        ("TPU v5", 459e12),
        ("cpu", None),
    ],
)
def test_a_device_is_not_taken_for_one_whose_name_it_begins_with(benchmark, kind, peak):
    assert benchmark.peak_flops(kind) == peak


def test_made_up_ids_are_different(benchmark):
    ids = [tuple(it) for it in benchmark.made_up_ids()]
    assert len(set(ids)) == len(ids) == 12_000
    assert {len(it) for it in ids} == {2, 3} and max(max(it) for it in ids) < 2048
