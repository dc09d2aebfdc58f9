"""Makes hugging_face_t5.tar.xz: a tiny T5 1.1 saved by `transformers`, and its logits.

    python tests/golden/make_hugging_face.py        # where torch and transformers are installed

The archive holds `whole/` (one file), `shards/` (the same with an index) and `expected.npz`.
"""

import pathlib
import tarfile
import tempfile

import numpy as np
import torch
import transformers

ARCHIVE = pathlib.Path(__file__).parent / "hugging_face_t5.tar.xz"


def main() -> None:
    """Writes the archive."""
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
    rng = np.random.default_rng(0)
    inputs = rng.integers(2, config.vocab_size, (2, 9))
    inputs[1, 6:] = 0
    decoder_inputs = np.pad(rng.integers(2, config.vocab_size, (2, 4)), ((0, 0), (1, 0)))
    with torch.no_grad():
        logits = model(
            input_ids=torch.tensor(inputs),
            attention_mask=torch.tensor(inputs != 0),
            decoder_input_ids=torch.tensor(decoder_inputs),
        ).logits.numpy()
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        model.save_pretrained(folder / "whole")
        model.save_pretrained(folder / "shards", max_shard_size="30KB")
        np.savez_compressed(
            folder / "expected.npz", inputs=inputs, decoder_inputs=decoder_inputs, logits=logits
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
