"""Hugging Face's T5 1.1 and FLAN-T5: safetensors with a config.json.

A linear map is stored there as [outputs, inputs], here as [inputs, outputs]; the table of relative
positions as [buckets, heads], here as [heads, buckets].
"""

import json
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from etils import epath

from recalign.data import integrity
from recalign.errors import UserError, shown
from recalign.model.t5.config import T5Config
from recalign.weights import inspection, safetensors_file
from recalign.weights.tensors import Tensor, Weights

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
# Key, what T5 1.1 has, and what `transformers` takes where the file is silent.
_MUST_BE: tuple[tuple[str, Any, Any], ...] = (
    ("model_type", "t5", None),
    ("feed_forward_proj", "gated-gelu", "relu"),
    ("relative_attention_num_buckets", 32, 32),
    ("relative_attention_max_distance", 128, 128),
)
_LARGEST_SIZE = 1 << 24
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")

_ATTENTION = {"query": "q", "key": "k", "value": "v", "out": "o"}
_BLOCKS = {
    "encoder": ({"attention": "SelfAttention", "mlp": "DenseReluDense"}, {
        "pre_attention_layer_norm": 0, "pre_mlp_layer_norm": 1,
    }),
    "decoder": ({
        "self_attention": "SelfAttention",
        "encoder_decoder_attention": "EncDecAttention",
        "mlp": "DenseReluDense",
    }, {
        "pre_self_attention_layer_norm": 0,
        "pre_cross_attention_layer_norm": 1,
        "pre_mlp_layer_norm": 2,
    }),
}  # fmt: skip
_RELPOS = "block.0.layer.0.SelfAttention.relative_attention_bias.weight"
_WHOLE = {
    "token_embedder/embedding": "shared.weight",
    "decoder/logits_dense/kernel": "lm_head.weight",
    "encoder/encoder_norm/scale": "encoder.final_layer_norm.weight",
    "decoder/decoder_norm/scale": "decoder.final_layer_norm.weight",
    "encoder/relpos_bias/rel_embedding": f"encoder.{_RELPOS}",
    "decoder/relpos_bias/rel_embedding": f"decoder.{_RELPOS}",
}
# Copies of the shared embedding, and a table that T5 1.1 has no use for: `transformers` leaves
# them out too.
_IGNORED = (
    "encoder.embed_tokens.weight",
    "decoder.embed_tokens.weight",
    "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
)


def is_hub_name(path: str) -> bool:
    """Whether a path that does not exist may be a model's name, as `google/flan-t5-small` is."""
    return bool(_HUB_NAME.fullmatch(path)) and not path.startswith(".")


def detect(folder: epath.Path) -> bool:
    return (folder / CONFIG).exists() and any(
        (folder / name).exists() for name in (WEIGHTS, INDEX, "pytorch_model.bin")
    )


def open_weights(folder: epath.Path) -> Weights:
    """The weights in a folder with config.json and model.safetensors, whole or in shards."""
    if folder.as_posix().startswith("gs://"):
        raise UserError(f"{folder}: Hugging Face weights are read from local folders: copy it here")
    where, local = str(folder), pathlib.Path(folder)
    found = _open_files(local)
    config = _model_config(local, most_layers=len(found))
    for name in _IGNORED:
        found.pop(name, None)
    if config.logits_via_embedding and "lm_head.weight" in found:
        raise UserError(
            f"{where}: tie_word_embeddings is true in {CONFIG}, but there is an output layer: "
            "lm_head.weight"
        )
    names = {theirs: ours for ours, theirs in _names(config).items()}
    # Under its own name what is left over is told best.
    params = {}
    for theirs, tensor in found.items():
        ours = names.get(theirs, theirs)
        params[ours] = _transposed(tensor) if _is_transposed(ours) else tensor
    inspection.check_params(where, params, config)
    return Weights(where, params, moments={}, step=None)


def write(weights: Weights, config: T5Config, folder: pathlib.Path, done: Callable) -> None:
    """config.json and model.safetensors, as `transformers` saves them."""
    names = _names(config)
    shapes = {}
    for ours, shape in inspection.param_shapes(config).items():
        shapes[names[ours]] = shape[::-1] if _is_transposed(ours) else shape
    (folder / CONFIG).write_text(json.dumps(_their_config(config), indent=2) + "\n")
    with safetensors_file.Writer(folder / WEIGHTS, shapes) as file:
        for ours, tensor in weights.params.items():
            array = tensor.whole()
            file.write(names[ours], array.T if _is_transposed(ours) else array)
            done(array.nbytes)


def download(name: str) -> epath.Path:
    """The folder with a model of the hub; UserError where it cannot be had."""
    here = "download it elsewhere and give the folder with its config.json and model.safetensors"
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError(
            f"{name}: no such folder, and as a model of the Hugging Face hub it needs "
            f"`pip install huggingface_hub`; or {here}"
        ) from error
    try:
        return epath.Path(
            huggingface_hub.snapshot_download(name, allow_patterns=[CONFIG, INDEX, "*.safetensors"])
        )
    except Exception as error:
        # The hub's client raises its own kinds of error, its HTTP library's and OSError.
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"{name}: no such folder, and the Hugging Face hub does not give it "
            f"({said[0][:120]}); {here}"
        ) from error


def _model_config(folder: pathlib.Path, most_layers: int) -> T5Config:
    path = folder / CONFIG
    stated = integrity.read_json(epath.Path(path))
    if not isinstance(stated, dict):
        raise UserError(f"{path}: an object of a model's sizes is needed")
    for key, value, default in _MUST_BE:
        if stated.get(key, default) != value:
            found = shown(stated.get(key, default))
            raise UserError(f"{path}: {key} is {found}; T5 1.1 has {value!r}")
    # Tied, `transformers` divides the logits by the root of the width, as T5X does. Version 4
    # states `tie_word_embeddings` for both; 5 states the scale, and always "tied".
    tied = bool(
        stated.get("tie_word_embeddings", True) and stated.get("scale_decoder_outputs", True)
    )

    def size(key: str, most: int = _LARGEST_SIZE) -> int:
        if key not in stated:
            raise UserError(f"{path}: it does not state {key!r}")
        value = stated[key]
        if type(value) is not int or not 1 <= value <= most:
            raise UserError(
                f"{path}: {key} is {shown(value)}; a whole number from 1 to {most:,} is needed"
            )
        return value

    decoder = "num_decoder_layers" if stated.get("num_decoder_layers") else "num_layers"
    return T5Config(
        vocab_size=size("vocab_size"),
        emb_dim=size("d_model"),
        num_heads=size("num_heads"),
        # A layer has several tensors: the names of more layers would only fill the memory.
        num_encoder_layers=size("num_layers", most_layers),
        num_decoder_layers=size(decoder, most_layers),
        head_dim=size("d_kv"),
        mlp_dim=size("d_ff"),
        logits_via_embedding=tied,
    )


def _their_config(config: T5Config) -> dict[str, Any]:
    return {
        "architectures": ["T5ForConditionalGeneration"],
        **{key: value for key, value, _ in _MUST_BE},
        "tie_word_embeddings": config.logits_via_embedding,
        **({"scale_decoder_outputs": True} if config.logits_via_embedding else {}),
        "vocab_size": config.vocab_size,
        "d_model": config.emb_dim,
        "d_kv": config.head_dim,
        "d_ff": config.mlp_dim,
        "num_layers": config.num_encoder_layers,
        "num_decoder_layers": config.num_decoder_layers,
        "num_heads": config.num_heads,
        "layer_norm_epsilon": 1e-6,
        "dropout_rate": config.dropout_rate,
        "is_encoder_decoder": True,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
        "torch_dtype": "float32",
    }


def _open_files(folder: pathlib.Path) -> dict[str, Tensor]:
    if (folder / INDEX).exists():
        files = _files_of_index(folder / INDEX)
    elif (folder / WEIGHTS).exists():
        files = [WEIGHTS]
    else:
        raise UserError(
            f"{folder}: it holds no {WEIGHTS}; pickled weights (pytorch_model.bin) are not read: "
            "save the model again with safetensors"
        )
    tensors: dict[str, Tensor] = {}
    for name in files:
        if not (folder / name).is_file():
            raise UserError(f"{folder}: {INDEX} names {name}, which is not there")
        tensors |= safetensors_file.open_file(folder / name)
    return tensors


def _files_of_index(path: pathlib.Path) -> list[str]:
    index = integrity.read_json(epath.Path(path))
    files = index.get("weight_map") if isinstance(index, dict) else None
    files = files if isinstance(files, dict) else {}
    if not files or not all(isinstance(name, str) for name in files.values()):
        raise UserError(f"{path}: it has no weight_map, from names of parameters to names of files")
    for name in files.values():
        if not name.endswith(".safetensors") or pathlib.PurePath(name).name != name:
            raise UserError(f"{path}: {shown(name)} is no safetensors file beside it")
    return sorted(set(files.values()))


def _names(config: T5Config) -> Mapping[str, str]:
    """T5X's names of the parameters -> Hugging Face's."""
    return {name: _their_name(name) for name in inspection.param_shapes(config)}


def _their_name(name: str) -> str:
    if name in _WHOLE:
        return _WHOLE[name]
    stack, layer, block, *rest = name.split("/")
    blocks, norms = _BLOCKS[stack]
    prefix = f"{stack}.block.{layer.removeprefix('layers_')}.layer"
    if block in norms:
        return f"{prefix}.{norms[block]}.layer_norm.weight"
    number = list(blocks).index(block)
    return f"{prefix}.{number}.{blocks[block]}.{_ATTENTION.get(rest[0], rest[0])}.weight"


def _is_transposed(name: str) -> bool:
    return name.endswith(("/kernel", "/rel_embedding"))


def _transposed(tensor: Tensor) -> Tensor:
    return Tensor(tensor.shape[::-1], tensor.dtype, lambda index: tensor.read(index[::-1]).T)
