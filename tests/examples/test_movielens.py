"""The worked example, executed on MovieLens."""

import pathlib
import runpy

import gin
import pytest
import seqio

from recalign.data.from_files import prepare_from_files
from recalign.show import show_task
from tests.corpus import shared_data

EXAMPLE = pathlib.Path(__file__).parent / "movielens.py"


@pytest.fixture
def movies(tmp_path, monkeypatch):
    """MovieLens prepared, the example executed; afterwards nothing of it is registered."""
    shared = shared_data()
    if not (shared / "ml-latest-small").is_dir():
        pytest.skip(f"MovieLens is not in {shared}")
    prepare_from_files(
        "movies",
        data_dir=tmp_path,
        format="movielens",
        interactions=shared / "ml-latest-small" / "ratings.csv.gz",
        items=shared / "ml-latest-small" / "movies.csv.gz",
        sentencepiece_model=shared / "t5_vocab" / "sentencepiece.model",
    )
    registries = (seqio.TaskRegistry, seqio.MixtureRegistry)
    before = [set(registry.names()) for registry in registries]
    monkeypatch.setattr(seqio.utils, "_TFDS_DATA_DIR_OVERRIDE", str(tmp_path))
    gin.clear_config()
    runpy.run_path(str(EXAMPLE))
    yield str(tmp_path)
    for registry, names in zip(registries, before, strict=True):
        for name in set(registry.names()) - names:
            registry.remove(name)


def test_the_example_is_about_ten_lines():
    code = EXAMPLE.read_text().split('"""')[2]
    assert len([line for line in code.splitlines() if line.strip()]) <= 12


def test_examples_stream_and_the_prompt_is_ones_own(movies):
    mixture = seqio.get_mixture_or_task("movie_night")
    lengths = {"inputs": 512, "targets": 128}
    examples = list(mixture.get_dataset(lengths, "train", seed=0).take(60).as_numpy_iterator())
    vocabulary = mixture.output_features["inputs"].vocabulary
    texts = [vocabulary.decode(e["inputs"].tolist()) for e in examples]
    assert all(2 <= len(e["inputs"]) <= 512 and 2 <= len(e["targets"]) <= 128 for e in examples)
    own = [text for text in texts if text.startswith("Seen so far: Item ID: I")]
    assert all(text.endswith("; What should be seen tonight?") for text in own)
    likes = [text for text in texts if "the following movies: Item ID: I" in text]
    masked = [text for text in texts if "[masked item]" in text]
    assert len(own) > 8 and len(likes) > 8 and len(masked) > 8
    (shown,) = show_task("watch_movies", "test", 1)
    text = " ".join(shown.split())
    assert text.startswith("watch_movies, test, sample 1: ")
    assert "What should be seen tonight? Output: I" in text
    metrics = seqio.get_mixture_or_task("watch_movies").metric_objs
    assert len(metrics) == 1
