"""Rendered samples of every task: `samples.json.xz`, and what makes them again.

    python -m tests.golden.make_samples FILE

The file was made before tasks were rebuilt out of preprocessors;
`tests/preprocessors/test_golden.py` compares what the tasks make today with it.
"""

import base64
import hashlib
import json
import lzma
import pathlib
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gin
import numpy as np
import seqio
import tensorflow as tf

import tasks
from tests.corpus import make_corpus, random_sequences, reviewed_corpus, vocabulary_file

LONG = "An extraordinarily long title about a wooden dragon castle puzzle for the whole family"

PAPER = ("retrieval", "ranking", "rating", "mim", "mlm", "bpr", "ie", "tiger")
P5 = ("p5_sequential", "p5_direct", "p5_rating", "p5_explanation", "p5_review")
SEED = 11
HASHED = 400
"""Examples whose digest is kept; the first few of them are kept whole."""

_LOOSE = {"TaskSettings.history_length": 5, "TaskSettings.candidate_pool": 8}
_TIGHT = {
    "TaskSettings.history_length": 9,
    "TaskSettings.candidate_pool": 5,
    "TaskSettings.masking_ratio": 0.35,
    "TaskSettings.like_threshold": 2.0,
}
_LENGTHS = {"inputs": 130, "targets": 40}


def cases() -> Iterator[dict[str, Any]]:
    """What is rendered: of which task, split and stream, with which settings."""
    for kind in PAPER:
        yield case(f"{kind}_golden", settings=_LOOSE)
        yield case(f"{kind}_golden", settings=_TIGHT, lengths=_LENGTHS, whole=4)
    for kind in P5:
        yield case(f"{kind}_reviewed", settings=_LOOSE, whole=16)
        yield case(f"{kind}_long", settings=_TIGHT, lengths=_LENGTHS)
    for kind in ("retrieval", "ranking", "rating", "tiger"):
        for split in ("validation", "test"):
            yield case(f"{kind}_golden", split=split, settings=_LOOSE, whole=2)
    for kind in ("p5_sequential", "p5_direct", "p5_rating", "p5_2_7"):
        for split in ("validation", "test"):
            yield case(f"{kind}_reviewed", split=split, settings=_LOOSE, whole=2)
    for kind in ("p5_sequential", "p5_direct", "retrieval"):
        yield case(f"{kind}_plain", settings=_LOOSE, whole=4)
    for mixture in ("ut_at_golden", "raat_golden", "ut_ie_golden", "p5_reviewed"):
        yield case(mixture, settings=_LOOSE, lengths={"inputs": 300, "targets": 90}, start=5000)


def case(
    name: str,
    *,
    settings: Mapping[str, float],
    split: str = "train",
    lengths: Mapping[str, int] | None = None,
    whole: int = 3,
    start: int = 0,
) -> dict[str, Any]:
    return {
        "name": name,
        "split": split,
        "settings": dict(settings),
        "lengths": lengths and dict(lengths),
        "whole": whole,
        "start": start,
    }


def register(directory: str, vocabulary: str) -> None:
    """Prepares and registers the corpora: ratings and content, reviews, long texts, and plain."""
    generator = np.random.default_rng(6)
    sequences = random_sequences(5, 70, 60, 24)
    make_corpus(
        "golden",
        directory,
        sequences=sequences,
        ratings=[generator.integers(1, 6, len(s)).tolist() for s in sequences],
        item_titles={raw: LONG for s in sequences for raw in s if raw[-1] in "37"}
        | {raw: "" for s in sequences for raw in s if raw[-1] == "9"},
        vocabulary=vocabulary,
        content=True,
        seed=4,
    )
    reviewed = random_sequences(0, 40, 40, 12)
    reviewed_corpus(directory, reviewed, name="reviewed", vocabulary=vocabulary)
    long = random_sequences(3, 12, 30, 9)
    reviewed_corpus(directory, long, long_reviews=True, name="long", vocabulary=vocabulary)
    make_corpus(
        "plain", directory, sequences=random_sequences(9, 20, 30, 11), vocabulary=vocabulary
    )
    for name, products in (
        ("golden", "films"),
        ("reviewed", "toys"),
        ("long", "x"),
        ("plain", "y"),
    ):
        tasks.register_dataset(name, products=products)


def examples_of(case: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The first examples of a case's endless stream, held-out ones in their order."""
    with gin.unlock_config():
        gin.clear_config()
        for setting, value in case["settings"].items():
            gin.bind_parameter(setting, value)
    provider = seqio.get_mixture_or_task(case["name"])
    if isinstance(provider, seqio.Mixture):
        examples = provider.get_dataset(
            case["lengths"],
            case["split"],
            seed=SEED,
            first_position=case["start"],
            passthrough_features=["row", "split", "history"],
        ).take(HASHED)
        return [_as_json(example) for example in examples.as_numpy_iterator()]
    # One call for all: a graph would take longer to build than the samples to make.
    train = case["split"] == "train"
    size, make = provider.maker(case["split"], case["lengths"], shuffle=train, seed=SEED)
    count = HASHED if train else min(size, HASHED)
    features = make(tf.range(case["start"], case["start"] + count, dtype=tf.int64))
    columns = {
        name: column.to_list() if isinstance(column, tf.RaggedTensor) else column.numpy().tolist()
        for name, column in sorted(features.items())
    }
    return [{name: column[n] for name, column in columns.items()} for n in range(count)]


def _as_json(example: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {name: value.tolist() for name, value in sorted(example.items())}


def digest(examples: Sequence[Mapping[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(examples, sort_keys=True).encode()).hexdigest()


def read(file: pathlib.Path) -> dict[str, Any]:
    return json.loads(lzma.decompress(file.read_bytes()))


def main() -> None:
    vocabulary = pathlib.Path(vocabulary_file()).read_bytes()
    made = []
    with tempfile.TemporaryDirectory() as directory:
        seqio.set_tfds_data_dir_override(directory)
        register(directory, vocabulary_file())
        for one in cases():
            examples = examples_of(one)
            made.append(
                one | {"digest": digest(examples), "examples": examples[: one.pop("whole")]}
            )
    content = {"vocabulary": base64.b64encode(vocabulary).decode(), "cases": made}
    pathlib.Path(sys.argv[1]).write_bytes(lzma.compress(json.dumps(content).encode(), preset=9))
    print(len(made), "cases,", sum(len(one["examples"]) for one in made), "samples")


if __name__ == "__main__":
    main()
