"""Makes hugging_face_t5.tar.xz: a tiny T5 1.1 saved by `transformers`, and its logits.

    python tests/golden/make_hugging_face.py        # where torch and transformers are installed

The archive holds `whole/` (one file), `shards/` (the same with an index) and `expected.npz`:
tokens, the logits that transformers computes in float64, and `error/logits`: how far its own
float32 lies from them at most, over torch's instruction sets (README.md here).
"""

import contextlib
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator

import numpy as np
import torch
import transformers

# torch's names for what of the processor it uses; "" is all that the machine has.
INSTRUCTION_SETS = ("", "default", "avx2")
ARCHIVE = pathlib.Path(__file__).parent / "hugging_face_t5.tar.xz"


def tiny_model() -> transformers.T5ForConditionalGeneration:
    """Seeded weights in float32."""
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=96,
        d_model=24,
        d_kv=8,
        d_ff=40,
        num_layers=2,
        num_decoder_layers=1,
        num_heads=2,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=0,
    )
    model = transformers.T5ForConditionalGeneration(config).eval()
    # `transformers` 5 begins with one array for both, whatever the configuration says.
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
    with torch.no_grad():
        for parameter in model.parameters():
            # The first values leave layers without any effect that a test would see.
            parameter.normal_(0.3, 0.2)
    return model


def tokens(vocab_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs [2, 9] and the decoder's inputs [2, 5]."""
    rng = np.random.default_rng(0)
    inputs = rng.integers(2, vocab_size, (2, 9))
    inputs[1, 6:] = 0
    return inputs, np.pad(rng.integers(2, vocab_size, (2, 4)), ((0, 0), (1, 0)))


@contextlib.contextmanager
def float64() -> Iterator[None]:
    """transformers' norms, which ask for their variance in float32, are given it in float64."""
    before = torch.Tensor.to

    def to(tensor, *args, **named):
        wide = (torch.float64 if argument is torch.float32 else argument for argument in args)
        return before(tensor, *wide, **named)

    torch.Tensor.to = to
    try:
        yield
    finally:
        torch.Tensor.to = before


def logits_of(
    model: transformers.T5ForConditionalGeneration, inputs: np.ndarray, decoder_inputs: np.ndarray
) -> np.ndarray:
    """[B, T, V], in the type of the model's weights; padding is token 0."""
    with torch.no_grad():
        return model(
            input_ids=torch.tensor(inputs),
            attention_mask=torch.tensor(inputs != 0),
            decoder_input_ids=torch.tensor(decoder_inputs),
        ).logits.numpy()


def logits_in_float64(
    model: transformers.T5ForConditionalGeneration, inputs: np.ndarray, decoder_inputs: np.ndarray
) -> np.ndarray:
    """The truth; the model's weights are float64 from then on."""
    with float64():
        logits = logits_of(model.double(), inputs, decoder_inputs)
    assert logits.dtype == np.float64
    return logits


def logits_in_float32(instruction_set: str) -> np.ndarray:
    """By this script in a process of its own: torch settles its instruction set when it starts."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "logits.npy")
        chosen = {"ATEN_CPU_CAPABILITY": instruction_set} if instruction_set else {}
        environment = {**os.environ, **chosen}
        subprocess.run([sys.executable, __file__, "--float32", path], env=environment, check=True)
        return np.load(path)


def main() -> None:
    """Writes the archive."""
    model = tiny_model()
    inputs, decoder_inputs = tokens(model.config.vocab_size)
    if sys.argv[1:2] == ["--float32"]:
        np.save(sys.argv[2], logits_of(model, inputs, decoder_inputs))
        return
    logits = logits_in_float64(tiny_model(), inputs, decoder_inputs)
    distances = {
        name: float(np.max(np.abs(logits_in_float32(name) - logits))) for name in INSTRUCTION_SETS
    }
    print(f"float32 misses by {distances} of {np.sqrt(np.mean(np.square(logits))):.3g}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        model.save_pretrained(folder / "whole")
        model.save_pretrained(folder / "shards", max_shard_size="30KB")
        np.savez_compressed(
            folder / "expected.npz",
            inputs=inputs,
            decoder_inputs=decoder_inputs,
            logits=logits,
            **{"error/logits": max(distances.values())},
        )
        with tarfile.open(ARCHIVE, "w:xz") as archive:
            for name in ("whole", "shards", "expected.npz"):
                archive.add(folder / name, name, filter=without_owner)


def without_owner(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """The same on every machine."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    main()
