"""Weights that `transformers` wrote, and ours read by `transformers`."""

import json
import shutil
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

from recalign.errors import UserError
from recalign.model.t5.config import T5Config
from recalign.weights import convert, hugging_face, load_params, safetensors_file
from tests.golden.t5x_precision import MULTIPLE
from tests.weights.comparison import CONFIG as OWN_CONFIG
from tests.weights.comparison import logits

SIZES = {
    "vocab_size": 96,
    "emb_dim": 24,
    "num_heads": 2,
    "num_encoder_layers": 2,
    "num_decoder_layers": 1,
    "head_dim": 8,
    "mlp_dim": 40,
}
CONFIG = T5Config(**SIZES)


def assert_as_precise(ours, expected):
    """As near to the truth as transformers' own float32, within the factor that T5X's is given."""
    allowed = MULTIPLE * float(expected["error/logits"])
    np.testing.assert_allclose(
        np.asarray(ours, np.float64), expected["logits"], rtol=0, atol=allowed
    )


@pytest.mark.parametrize("layout", ["whole", "shards"])
def test_logits_are_those_of_transformers(hugging_face_golden, layout):
    expected = np.load(hugging_face_golden / "expected.npz")
    params, step = load_params(str(hugging_face_golden / layout), CONFIG)
    assert step == 0
    assert_as_precise(logits(params, CONFIG, expected), expected)


def test_conversion_there_and_back_keeps_every_tensor(hugging_face_golden, tmp_path):
    convert(str(hugging_face_golden / "shards"), str(tmp_path / "checkpoint_9"))
    convert(str(tmp_path / "checkpoint_9"), str(tmp_path / "hf"), destination_format="hugging_face")
    theirs = safetensors_file.open_file(hugging_face_golden / "whole" / "model.safetensors")
    ours = safetensors_file.open_file(tmp_path / "hf" / "model.safetensors")
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        np.testing.assert_array_equal(ours[name].whole(), tensor.whole(), err_msg=name)


def test_the_config_is_one_that_transformers_would_write(hugging_face_golden, tmp_path):
    convert(str(hugging_face_golden / "whole"), str(tmp_path / "checkpoint_0"))
    convert(str(tmp_path / "checkpoint_0"), str(tmp_path / "hf"), destination_format="hugging_face")
    ours = json.loads((tmp_path / "hf" / "config.json").read_text())
    theirs = json.loads((hugging_face_golden / "whole" / "config.json").read_text())
    shared = (ours.keys() & theirs.keys()) - {"tie_word_embeddings"}
    assert len(shared) > 12 and {key: ours[key] for key in shared} == {
        key: theirs[key] for key in shared
    }


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("scale_decoder_outputs", True, "tie_word_embeddings is true"),
        ("scale_decoder_outputs", None, "tie_word_embeddings is true"),
        ("feed_forward_proj", "relu", "feed_forward_proj is 'relu'; T5 1.1 has 'gated-gelu'"),
        ("model_type", "bert", "model_type is 'bert'"),
        ("vocab_size", 97, "vocabulary has 96 tokens, the model's 97"),
        ("num_layers", 3, r"9 parameters are missing \(encoder/layers_2"),
        ("num_layers", 1, r"9 are left over \(encoder.block.1"),
        ("d_ff", None, "does not state 'd_ff'"),
        ("d_ff", "40", "d_ff is '40'; a whole number from 1 to 16,777,216 is needed"),
        ("num_heads", [2], r"num_heads is \[2\]; a whole number"),
        ("d_kv", True, "d_kv is True; a whole number"),
        ("d_model", -24, "d_model is -24; a whole number"),
        ("vocab_size", 96.5, "vocab_size is 96.5; a whole number"),
        (
            "num_layers",
            10**9,
            "num_layers is 1000000000; a whole number from 1 to [1-9][0-9] is needed",
        ),
        ("num_decoder_layers", {"a": 1}, "num_decoder_layers is .*; a whole number"),
        ("model_type", "x" * 10**6, "model_type is 'xxx"),
    ],
)
def test_the_config_is_checked(hugging_face_golden, tmp_path, key, value, message):
    folder = _copied(hugging_face_golden / "whole", tmp_path)
    stated = json.loads((folder / "config.json").read_text())
    stated[key] = value
    if value is None:
        del stated[key]
    (folder / "config.json").write_text(json.dumps(stated))
    with pytest.raises(UserError, match=message):
        convert(str(folder), str(tmp_path / "out"))


DEEP = b"[" * 200_000


@pytest.mark.parametrize("content", [b"[]", b"7", b"null", b'"t5"', b"", b"\xff", b"{", DEEP])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json"])
def test_json_that_is_no_such_file_is_one_line(hugging_face_golden, tmp_path, name, content):
    folder = _copied(hugging_face_golden / "shards", tmp_path)
    (folder / name).write_bytes(content)
    _is_told_in_one_line(folder, name)


@pytest.mark.parametrize(
    "files",
    [
        None,
        [],
        {},
        "model-00001-of-00003.safetensors",
        {"a": 7},
        {"a": ["model-00001-of-00003.safetensors"]},
        {"a": "../model-00001-of-00003.safetensors"},
        {"a": "/dev/zero"},
        {"a": "config.json"},
        {"a": ".."},
        {"a": "x" * 10**6},
    ],
)
def test_an_index_names_the_files_beside_it_alone(hugging_face_golden, tmp_path, files):
    folder = _copied(hugging_face_golden / "shards", tmp_path)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    _is_told_in_one_line(folder, r"model\.safetensors\.index\.json: ")


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "table",
    [
        DEEP,
        b'{"a":' * 100_000,
        b"[]",
        b"7",
        b"\xff\xfe",
        {"a": 7},
        {"a": None},
        {"a": {}},
        {"a": ENTRY | {"dtype": ["F32"]}},
        {"a": ENTRY | {"shape": 2}},
        {"a": ENTRY | {"shape": [2.0]}},
        {"a": ENTRY | {"shape": [float("inf")]}},
        {"a": ENTRY | {"shape": [-1, -2]}},
        {"a": ENTRY | {"shape": ["2"]}},
        {"a": ENTRY | {"data_offsets": [0, 4, 8]}},
        {"a": ENTRY | {"data_offsets": ["0", "8"]}},
        {"a": ENTRY | {"data_offsets": [0.0, 8.0]}},
        {"a": ENTRY | {"data_offsets": [-8, 0]}},  # the header itself
        {"a" * 10**6: ENTRY | {"data_offsets": [-8, 0]}},
    ],
)
def test_a_table_of_contents_that_is_none_is_one_line(hugging_face_golden, tmp_path, table):
    folder = _copied(hugging_face_golden / "whole", tmp_path)
    header = table if isinstance(table, bytes) else json.dumps(table).encode()
    (folder / "model.safetensors").write_bytes(
        len(header).to_bytes(8, "little") + header + bytes(8)
    )
    _is_told_in_one_line(folder, r"model\.safetensors: its table of contents cannot be read")


def test_an_embedding_of_no_dimension_is_told(hugging_face_golden, tmp_path):
    folder = _copied(hugging_face_golden / "whole", tmp_path)
    _save(folder, _arrays(folder) | {"shared.weight": np.zeros((), np.float32)})
    _is_told_in_one_line(folder, r"token_embedder/embedding \(\) instead of \(96, 24\)")


def test_a_config_of_transformers_4_is_read(hugging_face_golden, tmp_path):
    # As google/flan-t5-* have it.
    folder = _copied(hugging_face_golden / "whole", tmp_path)
    stated = json.loads((folder / "config.json").read_text())
    del stated["scale_decoder_outputs"]
    stated |= {"tie_word_embeddings": False, "n_positions": 512}
    (folder / "config.json").write_text(json.dumps(stated))
    assert load_params(str(folder), CONFIG)[1] == 0


def test_copies_of_the_embedding_are_no_surplus(hugging_face_golden, tmp_path):
    folder = _copied(hugging_face_golden / "whole", tmp_path)
    tensors = _arrays(folder)
    tensors["encoder.embed_tokens.weight"] = tensors["shared.weight"]
    _save(folder, tensors)
    assert load_params(str(folder), CONFIG)[1] == 0


def test_what_is_missing_and_left_over_is_told(hugging_face_golden, tmp_path):
    folder = _copied(hugging_face_golden / "whole", tmp_path)
    tensors = _arrays(folder)
    tensors["decoder.adapter.weight"] = tensors.pop("lm_head.weight")
    _save(folder, tensors)
    with pytest.raises(
        UserError,
        match=r"1 parameters are missing \(decoder/logits_dense/kernel\), 1 are left over "
        r"\(decoder.adapter.weight\)",
    ):
        load_params(str(folder), CONFIG)


@pytest.mark.parametrize("kept", [0, 4, 500, 50_000])
def test_a_file_that_is_cut_short_is_named(hugging_face_golden, tmp_path, kept):
    folder = _copied(hugging_face_golden / "whole", tmp_path)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match="model.safetensors: .*cut short"):
        load_params(str(folder), CONFIG)


def test_a_shard_that_is_not_there_is_named(hugging_face_golden, tmp_path):
    folder = _copied(hugging_face_golden / "shards", tmp_path)
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(UserError, match="names model-00002-of-00003.safetensors, which is not"):
        load_params(str(folder), CONFIG)


def test_pickled_weights_are_refused(hugging_face_golden, tmp_path):
    folder = _copied(hugging_face_golden / "whole", tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="pickled weights"):
        load_params(str(folder), CONFIG)


def test_a_hub_that_is_out_of_reach_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match="google/flan-t5-xl: .*pip install huggingface_hub"):
        hugging_face.download("google/flan-t5-xl")

    class Hub:
        @staticmethod
        def snapshot_download(name, allow_patterns):
            raise ConnectionError("cannot resolve the host\nTraceback")

    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub)
    with pytest.raises(UserError, match="cannot resolve the host") as caught:
        load_params("google/flan-t5-xl", CONFIG)
    assert "\n" not in str(caught.value)


def test_bfloat16_is_widened(hugging_face_golden, tmp_path):
    folder = _copied(hugging_face_golden / "whole", tmp_path)
    tensors = _arrays(folder)
    halves = {name: array.astype(ml_dtypes.bfloat16) for name, array in tensors.items()}
    offsets, table, end = [], {}, 0
    for name, array in halves.items():
        table[name] = {
            "dtype": "BF16",
            "shape": list(array.shape),
            "data_offsets": [end, end + array.nbytes],
        }
        end += array.nbytes
        offsets.append(array.tobytes())
    header = json.dumps(table).encode()
    (folder / "model.safetensors").write_bytes(
        len(header).to_bytes(8, "little") + header + b"".join(offsets)
    )
    params, _ = load_params(str(folder), CONFIG)
    embedding = np.asarray(params["token_embedder"]["embedding"])
    assert embedding.dtype == np.float32
    np.testing.assert_array_equal(embedding, halves["shared.weight"].astype(np.float32))


LIVE = """
import sys, numpy as np, transformers
from tests.golden.make_hugging_face import logits_in_float64, logits_of
folder, tokens, out = sys.argv[1:]
given = np.load(tokens)
given = given["inputs"], given["decoder_inputs"]
model = transformers.T5ForConditionalGeneration.from_pretrained(folder).eval()
rounded, logits = logits_of(model, *given), logits_in_float64(model, *given)
np.savez(out, **{"logits": logits, "error/logits": np.max(np.abs(rounded - logits))})
"""


def test_transformers_reads_what_we_write(own_run, tmp_path):
    """Runs where torch and transformers are installed."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    convert(str(own_run), str(tmp_path / "hf"), destination_format="hugging_face")
    rng = np.random.default_rng(0)
    tokens = {
        "inputs": rng.integers(1, 160, (3, 11)),
        "decoder_inputs": rng.integers(1, 160, (3, 5)),
    }
    tokens["inputs"][1, 7:] = 0
    tokens["decoder_inputs"][:, 0] = 0
    np.savez(tmp_path / "tokens.npz", **tokens)
    # torch and JAX in one process: two thread pools that get in each other's way.
    arguments = [tmp_path / "hf", tmp_path / "tokens.npz", tmp_path / "expected.npz"]
    search = f"import sys; sys.path[:] = {sys.path!r}"
    subprocess.run([sys.executable, "-c", f"{search}\n{LIVE}", *map(str, arguments)], check=True)
    params, _ = load_params(str(tmp_path / "hf"), OWN_CONFIG)
    assert_as_precise(logits(params, OWN_CONFIG, tokens), np.load(tmp_path / "expected.npz"))


def _is_told_in_one_line(folder, message) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_params(str(folder), CONFIG)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1_000


def _copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copied")


def _arrays(folder) -> dict[str, np.ndarray]:
    tensors = safetensors_file.open_file(folder / "model.safetensors")
    return {name: tensor.whole() for name, tensor in tensors.items()}


def _save(folder, tensors) -> None:
    shapes = {name: array.shape for name, array in tensors.items()}
    with safetensors_file.Writer(folder / "model.safetensors", shapes) as file:
        for name, array in tensors.items():
            file.write(name, array)
