"""Small seeded corpora and vocabularies that several rooms' tests share."""

import dataclasses
import functools
import os
import pathlib
import string
import tempfile
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from recalign.data.interactions import Interactions, ItemTable
from recalign.data.prepare import prepare
from recalign.data.prepared import PreparedDataset
from recalign.data.vocabulary import train_vocabulary
from recalign.prompts import FIELD_QUESTIONS
from tests.rendered import Item, render

WORDS = ["red", "blue", "wooden", "toy", "train", "robot", "kite", "puzzle", "castle", "dragon"]
_NOUNS = [f"{a}{b}" for a in ("bat", "cup", "dog", "sun") for b in ("ring", "hood", "ward", "wise")]


def log_of(
    sequences: Sequence[Sequence[str]], ratings: Sequence[Sequence[float]] | None = None
) -> Interactions:
    """A log in which user n has the n-th sequence of raw item ids."""
    numbers: dict[str, int] = {}
    flat = [numbers.setdefault(raw, len(numbers)) for sequence in sequences for raw in sequence]
    user = [n for n, sequence in enumerate(sequences) for _ in sequence]
    return Interactions(
        user_ids=[f"user{n}" for n in range(len(sequences))],
        item_ids=list(numbers),
        user=np.array(user, np.int32),
        item=np.array(flat, np.int32),
        rating=None
        if ratings is None
        else np.array([r for row in ratings for r in row], np.float32),
    )


def alike_corpus(data_dir: str | os.PathLike, item_ids: str = "random") -> PreparedDataset:
    """A dataset of a log with items I1 to I6, of which the 2-core drops I5: I5 is another item in
    the catalogue, and others may be."""
    kept = ["I1", "I2", "I3", "I4", "I6"]
    sequences = [kept[n:] + kept[:n] for n in range(5)]
    log = log_of([[*sequences[0], "I5"], *sequences[1:]])
    nothing = ItemTable([], [], [], [], [], [])
    return prepare(log, nothing, name="alike", data_dir=data_dir, k_core=2, item_ids=item_ids)


def random_sequences(seed: int, users: int, items: int, longest: int) -> list[list[str]]:
    """Sequences of 5 … longest distinct items, some items far more popular than others."""
    generator = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, items + 1)
    return [
        [
            f"raw{i}"
            for i in generator.choice(
                items, generator.integers(5, longest + 1), replace=False, p=weights / weights.sum()
            )
        ]
        for _ in range(users)
    ]


def titles(seed: int, count: int) -> list[str]:
    """Titles of 1 … 6 words."""
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(WORDS, generator.integers(1, 7))) for _ in range(count)]


@functools.cache
def vocabulary_file() -> str:
    """A BPE vocabulary of prompts and titles, made once a session."""
    item = Item("I1", "Title")
    prompts = [
        render("ranking", history=[item], target=item, candidates=["I1", "I2"]),
        render("mim", history=[item, item], masked=[0]),
        render("rating", history=[item] * 2, likes=[True, False], target=item, liked=True),
        render("bpr", history=[item], choices=[item, item], target=item),
        render("retrieval", history=[item], target=item),
        *(render("ie", target=item, field=field, value="$3.50") for field in FIELD_QUESTIONS),
        render("ie", target=item, field="title", value=f"{string.ascii_letters} Toys, Games Acme"),
    ]
    texts = titles(1, 200) + [f"I{n}, I{n}. I{n};" for n in range(200)]
    texts += [f"{prompt.inputs} {prompt.targets}" for prompt in prompts] * 20
    path = pathlib.Path(tempfile.mkdtemp(prefix="recalign-vocabulary-")) / "sentencepiece.model"
    path.write_bytes(train_vocabulary(texts, 500))
    return str(path)


def make_corpus(
    name: str,
    data_dir: str | os.PathLike,
    *,
    sequences: Sequence[Sequence[str]] | None = None,
    ratings: Sequence[Sequence[float]] | None = None,
    item_titles: dict[str, str] | None = None,
    vocabulary: str | None = None,
    content: bool = False,
    seed: int = 0,
    item_ids: str = "random",
    item_tokens: bool = False,
) -> PreparedDataset:
    """Prepares a dataset of 60 users and 50 items, or of the sequences given."""
    if sequences is None:
        sequences = random_sequences(seed, 60, 50, 30)
        generator = np.random.default_rng(seed + 1)
        ratings = [generator.integers(1, 6, len(s)).tolist() for s in sequences]
    log = log_of(sequences, ratings)
    named = dict(zip(log.item_ids, titles(seed + 2, len(log.item_ids)), strict=True))
    named |= item_titles or {}
    table = ItemTable.of_titles(log.item_ids, [named[raw] for raw in log.item_ids])
    if content:
        table = dataclasses.replace(
            table,
            brands=["Acme" if sum(raw.encode()) % 2 else "" for raw in table.raw_ids],
            prices=["$3.50"] * len(table),
            categories=[["Toys", "Games"]] * len(table),
            descriptions=["A toy. " * 30] * len(table),
        )
    return prepare(
        log,
        table,
        name=name,
        data_dir=data_dir,
        k_core=1,
        seed=seed,
        item_ids=item_ids,
        item_tokens=item_tokens,
        sentencepiece_model=vocabulary or vocabulary_file(),
    )


def reviewed_corpus(
    data_dir: str | os.PathLike,
    sequences: Sequence[Sequence[str]],
    *,
    long_reviews: bool = False,
    name: str = "reviewed",
    vocabulary: str | None = None,
) -> PreparedDataset:
    """A review of an interaction says what its user, its item and its place alone decide."""
    log = log_of(
        sequences, [[(n * 7 + len(raw)) % 5 + 1 for n, raw in enumerate(s)] for s in sequences]
    )
    texts, summaries = [], []
    for user, sequence in enumerate(sequences):
        for n, raw in enumerate(sequence):
            noun = _NOUNS[(sum(raw.encode()) * 5 + n + user) % len(_NOUNS)]
            filler = "toy robot " * (40 if long_reviews and n % 2 else 1)
            texts.append(
                f"Wooden {filler}. A {noun} puzzle! Blue castle." if (n + user) % 5 else ""
            )
            summaries.append(f"red {noun}")
    columns = [pa.chunked_array([pa.array(t, pa.large_string())]) for t in (texts, summaries)]
    log = dataclasses.replace(log, review_text=columns[0], summary=columns[1])
    named = dict(zip(sorted(log.item_ids), titles(2, len(log.item_ids)), strict=True))
    if long_reviews:
        named |= dict.fromkeys(log.item_ids[::3], "wooden dragon castle " * 20)
    table = ItemTable.of_titles(log.item_ids, [named[raw] for raw in log.item_ids])
    return prepare(
        log, table, name=name, data_dir=data_dir, k_core=1,
        sentencepiece_model=vocabulary or vocabulary_file(),
    )  # fmt: skip


def shared_data() -> pathlib.Path:
    """The folder with real data; skips the test where it is absent."""
    root = pathlib.Path(__file__).resolve().parents[1]
    path = pathlib.Path(os.environ.get("RECALIGN_SHARED", root.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"real data is not in {path} (RECALIGN_SHARED)")
    return path
