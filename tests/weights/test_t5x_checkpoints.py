"""Checkpoints that T5X wrote, in both of its layouts."""

import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from flax import serialization

from recalign.errors import UserError
from recalign.model.t5.config import T5Config
from recalign.weights import convert, inspection, load_params, t5x_legacy, t5x_orbax
from recalign.weights.tensors import as_float32
from tests.golden.t5x_precision import assert_as_precise_as_t5x
from tests.t5x_names import to_t5x
from tests.weights.comparison import logits

MODULES = {"legacy": t5x_legacy, "orbax": t5x_orbax}


@pytest.fixture(params=["legacy", "orbax"])
def layout(request):
    return request.param


def test_every_array_is_what_t5x_wrote(t5x_golden, t5x_maker, layout):
    weights = MODULES[layout].open_weights(epath.Path(t5x_golden / layout / "checkpoint_7"))
    assert weights.step == t5x_maker.STEP
    for prefix, tensors in (("target", weights.params), ("state/param_states", weights.moments)):
        for name, tensor in tensors.items():
            expected = np.zeros((1,), np.float32)
            if tensor.shape != (1,):
                expected = t5x_maker.drawn(f"{prefix}/{name}", tensor.shape)
            np.testing.assert_array_equal(tensor.whole(), expected)


def test_names_and_shapes_are_t5xs(t5x_golden, t5x_maker, layout):
    weights = MODULES[layout].open_weights(epath.Path(t5x_golden / layout / "checkpoint_7"))
    config = T5Config(**t5x_maker.SIZES)
    assert inspection.infer_config("", weights.params) == config
    inspection.check_params("", weights.params, config)
    # T5X factored the tables whose two sides are 128 and more; which ones, its own code said.
    inspection.check_moments("", weights.moments, config)
    factored = [
        name for name, x in weights.moments.items() if name.endswith("v_row") and x.shape != (1,)
    ]
    assert len(factored) == 2 + 3 * 3


def test_logits_are_t5xs(t5x_golden, t5x_maker, layout):
    expected = np.load(t5x_golden / "expected.npz")
    config = T5Config(**t5x_maker.SIZES)
    params, step = load_params(str(t5x_golden / layout), config)
    assert step == t5x_maker.STEP
    assert_as_precise_as_t5x(logits(params, config, expected), expected, "logits")


def test_both_layouts_make_the_same_run(t5x_golden, tmp_path):
    for layout in MODULES:
        convert(str(t5x_golden / layout), str(tmp_path / layout))
    infos = [tmp_path / layout / "checkpoints/7/info/metadata" for layout in MODULES]
    assert infos[0].read_text() == infos[1].read_text()


def test_small_arrays_lie_in_the_msgpack_file(tmp_path, own_run):
    there = convert(str(own_run), str(tmp_path), destination_format="t5x").destination
    contents = serialization.msgpack_restore((there / "checkpoint").read_bytes())
    # What T5X's reader asks for.
    assert set(contents) == {"version", "optimizer"} and contents["version"] == 3
    state = contents["optimizer"]["state"]
    assert state["step"].dtype == np.int32
    assert set(state["param_states"]["token_embedder"]["embedding"]) == {"m", "v", "v_row", "v_col"}
    spec = contents["optimizer"]["target"]["token_embedder"]["embedding"]
    assert spec["kvstore"] == {"driver": "file", "path": "target.token_embedder.embedding/"}
    assert {"chunks", "compressor", "shape"} == set(spec["metadata"])


def test_where_a_checkpoint_was_written_does_not_matter(t5x_golden, tmp_path, t5x_maker):
    # T5X's public checkpoints were written to a bucket that goes by a made-up name.
    copied = _edited(t5x_golden, tmp_path, _as_if_in_a_bucket)
    params, _ = load_params(str(copied), T5Config(**t5x_maker.SIZES))
    expected = t5x_maker.drawn(
        "target/token_embedder/embedding", params["token_embedder"]["embedding"].shape
    )
    np.testing.assert_array_equal(params["token_embedder"]["embedding"], expected)


def test_whole_arrays_in_the_msgpack_file_are_read(own_run, tmp_path, trained_state):
    # As T5X's own tiny test checkpoint has them, and its first Flax checkpoints.
    state = {"version": 3, "optimizer": {"target": jax.device_get(to_t5x(trained_state.params))}}
    folder = tmp_path / "checkpoint_3"
    folder.mkdir()
    (folder / "checkpoint").write_bytes(serialization.msgpack_serialize(state))
    made = convert(str(folder), str(tmp_path / "run"))
    assert not made.optimizer and made.step == 0


def test_bfloat16_is_widened(own_run, tmp_path, trained_state):
    halves = jax.tree.map(
        lambda leaf: np.asarray(leaf.astype(jnp.bfloat16)), to_t5x(trained_state.params)
    )
    folder = tmp_path / "checkpoint_3"
    folder.mkdir()
    state = {"version": 3, "optimizer": {"target": halves}}
    (folder / "checkpoint").write_bytes(serialization.msgpack_serialize(state))
    tensor = t5x_legacy.open_weights(epath.Path(folder)).params["token_embedder/embedding"]
    read = as_float32(tensor).whole()
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, halves["token_embedder"]["embedding"].astype(np.float32))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda target: target["encoder"]["layers_1"].pop("mlp"),
            r"3 parameters are missing \(encoder/layers_1/mlp/wi_0/kernel",
        ),
        (
            lambda target: target["decoder"].update(extra={"kernel": np.zeros((2, 2), np.float32)}),
            r"1 are left over \(decoder/extra/kernel\)",
        ),
        (
            lambda target: target["encoder"]["encoder_norm"].update(scale=np.zeros(3, np.float32)),
            r"1 have another shape \(encoder/encoder_norm/scale \(3,\) instead of \(128,\)\)",
        ),
        (
            lambda target: target["encoder"]["encoder_norm"].update(scale=np.zeros(128, np.int32)),
            "encoder/encoder_norm/scale is of type int32",
        ),
        (
            lambda target: target["decoder"].pop("logits_dense"),
            r"3 are left over \(decoder/logits_dense/kernel/v",
        ),
        (lambda target: target.pop("token_embedder"), "not a T5 1.1 model: it has no token_emb"),
    ],
    ids=["missing", "left over", "shape", "type", "tied", "another model"],
)
def test_what_is_wrong_is_told_in_one_line(t5x_golden, tmp_path, edit, message):
    copied = _edited(t5x_golden, tmp_path, lambda state: edit(state["target"]))
    with pytest.raises(UserError, match=message) as caught:
        convert(str(copied), str(tmp_path / "out"))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    assert not (tmp_path / "out").exists()


def test_another_optimizer_is_not_taken_for_adafactor(t5x_golden, tmp_path):
    copied = _edited(
        t5x_golden, tmp_path, lambda state: state["state"].update(param_states={"0": {"mu": 1.0}})
    )
    with pytest.raises(UserError, match="moments of Adafactor are missing.*weights_only"):
        convert(str(copied), str(tmp_path / "out"))
    assert convert(str(copied), str(tmp_path / "out"), weights_only=True).step == 7


def test_a_zarr_array_that_is_gone_is_named(t5x_golden, tmp_path):
    copied = _edited(t5x_golden, tmp_path, lambda state: None)
    (copied / "target.token_embedder.embedding" / ".zarray").unlink()
    with pytest.raises(UserError, match=r"target.token_embedder.embedding: cannot be opened"):
        convert(str(copied), str(tmp_path / "out"))


@pytest.mark.parametrize("content", [b"", b"model_checkpoint_path: x", b"\xc1garbage", b"\x93\x01"])
def test_a_damaged_msgpack_file_is_one_line(tmp_path, content):
    (tmp_path / "checkpoint_1").mkdir()
    (tmp_path / "checkpoint_1" / "checkpoint").write_bytes(content)
    with pytest.raises(UserError, match=r"checkpoint_1.checkpoint: ") as caught:
        convert(str(tmp_path / "checkpoint_1"), str(tmp_path / "out"))
    assert "\n" not in str(caught.value)


def _spec(**changes):
    """Changes what the msgpack file says of one zarr array; None takes a field out."""

    def edit(contents) -> None:
        spec = contents["optimizer"]["target"]["token_embedder"]["embedding"]
        for name, value in changes.items():
            spec[name] = value if name in ("kvstore", "driver") else {**spec[name], **value}

    return edit


def _step(value):
    return lambda contents: contents["optimizer"]["state"].update(step=value)


def _deep(contents) -> None:
    for _ in range(400):
        contents["optimizer"] = {"a": contents["optimizer"]}


_HOSTILE = [
    (lambda contents: contents.update(version="x"), "version 'x'"),
    (lambda contents: contents.update(version=None), "version None"),
    (lambda contents: contents.update(version=[3]), "version [3]"),
    (lambda contents: contents.update(version=1), "version 1 are too old"),
    (lambda contents: contents.update(optimizer=7), "optimizer 7"),
    (_deep, "not a T5 1.1 model"),
    (_spec(kvstore=7), "kvstore 7"),
    (lambda contents: _embedding(contents).update(metadata=7), "metadata 7"),
    (_spec(kvstore={"path": 7}), "path 7"),
    (_spec(kvstore={}), "path None"),
    (_spec(kvstore={"path": "/etc/passwd/"}), "'/etc/passwd/' is no array in the checkpoint's"),
    (_spec(kvstore={"path": "../checkpoint_7/target/"}), "'../checkpoint_7/target/' is no array"),
    (_spec(kvstore={"path": "a/../../b"}), "'a/../../b' is no array"),
    (_spec(kvstore={"path": "gs://bucket/a"}), "'gs://bucket/a' is no array"),
    (_spec(kvstore={"path": "./"}), "'./' is no array"),
    (_spec(kvstore={"path": "a\0b"}), "is no array"),
    (_spec(metadata={"shape": None}), "shape None"),
    (lambda contents: _embedding(contents)["metadata"].pop("shape"), "shape None"),
    (_spec(metadata={"shape": 7}), "shape 7"),
    (_spec(metadata={"shape": ["x", 128]}), "shape ['x', 128]"),
    (_spec(metadata={"shape": [-1, 128]}), "shape [-1, 128]"),
    (lambda contents: _embedding(contents).update(dtype="evil"), "dtype 'evil'"),
    (lambda contents: _embedding(contents).update(dtype=7), "dtype 7"),
    (lambda contents: _embedding(contents).update(dtype=["<f4"]), "dtype ['<f4']"),
    (_step("7"), "'state/step' is '7'"),
    (_step([7, [8]]), "'state/step' is [7, [8]]"),
    (_step(np.arange(3)), "state/step is no step but int64, [3]"),
    (_step(np.float32(np.nan)), "state/step is no step but float32"),
    (_step(np.int32(-1)), "state/step is -1"),
    (_step(2**60), "state/step is"),
]


def _embedding(contents):
    return contents["optimizer"]["target"]["token_embedder"]["embedding"]


@pytest.mark.parametrize(("edit", "message"), _HOSTILE)
def test_what_no_t5x_writes_is_one_line(t5x_golden, tmp_path, edit, message):
    copied = _edited(t5x_golden, tmp_path, lambda state: None)
    contents = serialization.msgpack_restore((copied / "checkpoint").read_bytes())
    edit(contents)
    (copied / "checkpoint").write_bytes(serialization.msgpack_serialize(contents))
    with pytest.raises(UserError) as caught:
        convert(str(copied), str(tmp_path / "out"))
    said = str(caught.value)
    assert message in said and str(copied) in said and "\n" not in said and len(said) < 700
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../other", "/etc", "a/../../b", ".", "gs://bucket/a"])
def test_an_array_outside_the_checkpoint_is_not_opened(tmp_path, name):
    """Of Orbax's older trees too, whose msgpack file has names of arrays."""
    (tmp_path / "checkpoint_1").mkdir()
    tree = {"target": {"a": f"PLACEHOLDER://{name}"}}
    (tmp_path / "checkpoint_1" / "checkpoint").write_bytes(serialization.msgpack_serialize(tree))
    with pytest.raises(UserError, match="is no array in the checkpoint's folder"):
        t5x_orbax.open_weights(epath.Path(tmp_path / "checkpoint_1"))


def test_another_vocabulary_is_named(t5x_golden, t5x_maker):
    config = T5Config(**{**t5x_maker.SIZES, "vocab_size": 32128})
    with pytest.raises(UserError, match="vocabulary has 132 tokens, the model's 32128"):
        load_params(str(t5x_golden / "legacy"), config)


def test_flan_t5s_shapes():
    shapes = inspection.param_shapes(
        T5Config(
            emb_dim=2048, num_heads=32, num_encoder_layers=24, num_decoder_layers=24, mlp_dim=5120
        )
    )
    # google/flan-t5-xl: 2,849,757,184 parameters.
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 2_849_757_184
    assert shapes["decoder/layers_23/encoder_decoder_attention/out/kernel"] == (2048, 2048)


def _edited(golden: pathlib.Path, folder: pathlib.Path, edit) -> pathlib.Path:
    copied = folder / "checkpoint_7"
    shutil.copytree(golden / "legacy" / "checkpoint_7", copied)
    contents = serialization.msgpack_restore((copied / "checkpoint").read_bytes())
    edit(contents["optimizer"])
    (copied / "checkpoint").write_bytes(serialization.msgpack_serialize(contents))
    return copied


def _as_if_in_a_bucket(state) -> None:
    def visit(node) -> None:
        if "kvstore" in node:
            path = node["kvstore"].pop("path")
            node["kvstore"] = {"driver": "gcs", "bucket": "t5x-dummy-bucket", "path": path}
            return
        for child in node.values():
            if isinstance(child, dict):
                visit(child)

    visit(state)
