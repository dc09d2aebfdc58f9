import pytest
import seqio

from recalign.data.prepared import PreparedDataset
from recalign.preprocessors.samples import Request
from recalign.preprocessors.settings import TaskSettings
from recalign.prompts import PROMPTS, Prompt
from tests.corpus import make_corpus, vocabulary_file


@pytest.fixture(scope="session")
def vocabulary() -> seqio.SentencePieceVocabulary:
    return seqio.SentencePieceVocabulary(vocabulary_file(), extra_ids=100)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> PreparedDataset:
    """60 users, up to 50 items, ratings, and item content."""
    return make_corpus("small", tmp_path_factory.mktemp("data"), content=True)


@pytest.fixture(scope="session")
def request_of(corpus, vocabulary):
    """Makes requests of the small corpus."""

    def make(kind: str, split: str = "train", inputs=None, targets=None, dataset=None, **settings):
        return Request(
            task=f"{kind}_small",
            dataset=dataset or corpus,
            split=split,
            prompt=PROMPTS.get(kind, Prompt((), ())),
            products="products",
            vocabulary=vocabulary,
            settings=TaskSettings(**({"history_length": 5, "candidate_pool": 8} | settings)),
            inputs=inputs,
            targets=targets,
        )

    return make
