"""Every system that learns, for real, on 500 users: slow, and pip must reach a package index once.

Two epochs teach little. What is checked is that each library takes the split, trains, and answers
for every user in a way that no constant would.
"""

import gzip
import pathlib

import pyarrow.parquet as pq
import pytest
import seqio

import tasks
from recalign.baselines import environments, measure
from recalign.baselines.systems import ITEMS, RATINGS, REFERENCES, SYSTEMS
from recalign.data.from_files import prepare_from_files
from recalign.data.synthetic import CorpusConfig, prepare_demo
from tests.corpus import shared_data, vocabulary_file

pytestmark = pytest.mark.slow

USERS = 500
LEARN_ITEMS = [name for name, system in SYSTEMS.items() if system.kinds == ITEMS]
LEARN_RATINGS = [name for name, system in SYSTEMS.items() if system.kinds == RATINGS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("data")
    seqio.set_tfds_data_dir_override(str(path))
    yield path
    seqio.set_tfds_data_dir_override(None)


@pytest.fixture(scope="module")
def cut(folder):
    """The first users of Toys."""
    amazon = shared_data() / "amazon"
    log = folder / "cut.sequences.tsv"
    with gzip.open(amazon / "toys.sequences.tsv.gz", "rt") as lines:
        log.write_text("".join(line for line, _ in zip(lines, range(USERS), strict=False)))
    dataset, _ = prepare_from_files(
        "cut",
        data_dir=folder,
        format="sequences",
        interactions=log,
        items=amazon / "toys.items.tsv.gz",
        k_core=1,
        sentencepiece_model=vocabulary_file(),
    )
    return dataset


@pytest.fixture(scope="module")
def rated(folder):
    """Toys has no ratings; a demo corpus has."""
    return prepare_demo(folder, 0, name="rated", config=CorpusConfig(users=USERS))


def ranks_of(dataset, model: str, kinds: tuple[str, ...], folder: pathlib.Path) -> dict:
    """What a system leaves of each kind of task, read back."""
    tasks.ensure_registered(f"{kinds[0]}_{dataset.name}", str(folder))
    out = folder / dataset.name / "results.json"
    results = measure.measure(
        dataset,
        [model],
        {kind: seqio.TaskRegistry.get(f"{kind}_{dataset.name}") for kind in kinds},
        out,
        epochs=2,
        environments_directory=environments.default_directory(),
        say=print,
    )
    assert results["systems"][model]["version"]
    ranks = out.parent / "ranks"
    names = {kind: f"{model}-{kind}_{dataset.name}.parquet" for kind in kinds}
    return {kind: pq.read_table(ranks / name) for kind, name in names.items()}


@pytest.mark.parametrize("model", LEARN_ITEMS)
def test_of_items(folder, cut, model):
    for table in ranks_of(cut, model, ITEMS, folder).values():
        assert table["row"].to_pylist() == list(range(USERS))
        assert len(set(table["rank"].to_pylist())) > 20


@pytest.mark.parametrize("model", LEARN_RATINGS)
def test_of_ratings(folder, rated, model):
    table = ranks_of(rated, model, RATINGS, folder)["rating"]
    assert table["row"].to_pylist() == list(range(USERS))
    assert set(table["label"].to_pylist()) == {0, 1}
    assert len(set(table["score"].to_pylist())) > 3


def test_every_system_is_tried():
    assert {*LEARN_ITEMS, *LEARN_RATINGS, *REFERENCES} == set(SYSTEMS)
