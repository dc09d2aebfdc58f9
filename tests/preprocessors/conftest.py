import dataclasses
from typing import Any

import pytest
import seqio

from recalign.data.prepared import PreparedDataset
from recalign.preprocessors.samples import Recipe, Samples
from recalign.preprocessors.settings import TaskSettings
from tasks.blocks import TASKS
from tests.corpus import make_corpus, vocabulary_file


@pytest.fixture(scope="session")
def vocabulary() -> seqio.SentencePieceVocabulary:
    return seqio.SentencePieceVocabulary(vocabulary_file(), extra_ids=100)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> PreparedDataset:
    """60 users, up to 50 items, ratings, and item content."""
    return make_corpus("small", tmp_path_factory.mktemp("data"), content=True)


@dataclasses.dataclass(frozen=True)
class Request:
    """Samples that a test asks for."""

    kind: str
    arguments: dict[str, Any]

    def samples(self, key: int = 0) -> Samples:
        block = TASKS[self.kind]
        recipe = Recipe(f"{self.kind}_small", block["prompt"], block["preprocessors"])
        return Samples(recipe, key=key, **self.arguments)


@pytest.fixture(scope="session")
def request_of(corpus, vocabulary):
    """Makes requests of the small corpus."""

    def make(kind: str, split: str = "train", inputs=None, targets=None, dataset=None, **settings):
        return Request(
            kind,
            {
                "dataset": dataset or corpus,
                "split": split,
                "vocabulary": vocabulary,
                "settings": TaskSettings(**({"history_length": 5, "candidate_pool": 8} | settings)),
                "lengths": {"inputs": inputs, "targets": targets},
            },
        )

    return make
