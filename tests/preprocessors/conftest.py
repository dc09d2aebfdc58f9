import dataclasses
import re
from typing import Any

import pytest
import seqio

import tasks
from recalign.data.prepared import PreparedDataset
from recalign.errors import UserError
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
def least_lengths():
    """Gives the lengths that the error messages of a maker of samples ask for."""

    def least_of(make):
        lengths = {"inputs": 1, "targets": 1}
        while True:
            try:
                make(**lengths)
                return lengths
            except UserError as error:
                found = re.search(r"LENGTHS\['(\w+)'\] to at least (\d+)", str(error))
                lengths[found[1]] = int(found[2])

    return least_of


@pytest.fixture(scope="module")
def two_tasks(corpus):
    """Two tasks of the small corpus, which stand for all: a stream's construction takes seconds."""
    seqio.set_tfds_data_dir_override(str(corpus.directory.parent.parent))
    tasks.ensure_registered("ut_at_small")
    yield tuple(seqio.get_mixture_or_task(name) for name in ("retrieval_small", "mlm_small"))
    seqio.set_tfds_data_dir_override(None)


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
