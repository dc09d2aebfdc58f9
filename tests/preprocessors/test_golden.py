"""What the tasks make is, token for token, what they made before they were rebuilt."""

import base64
import pathlib

import pytest
import seqio

from tests.golden import make_samples

FILE = pathlib.Path(make_samples.__file__).parent / "samples.json.xz"


@pytest.fixture(scope="module")
def registered(tmp_path_factory):
    """The golden corpora, with the vocabulary of their day; afterwards nothing is registered."""
    directory = tmp_path_factory.mktemp("data")
    vocabulary = directory / "golden.model"
    vocabulary.write_bytes(base64.b64decode(make_samples.read(FILE)["vocabulary"]))
    registries = (seqio.TaskRegistry, seqio.MixtureRegistry)
    before = [set(registry.names()) for registry in registries]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seqio.utils, "_TFDS_DATA_DIR_OVERRIDE", str(directory))
        make_samples.register(str(directory), str(vocabulary))
        yield
    for registry, names in zip(registries, before, strict=True):
        for name in set(registry.names()) - names:
            registry.remove(name)


def test_the_file_has_every_task():
    names = {case["name"].rpartition("_")[0] for case in make_samples.read(FILE)["cases"]}
    kinds = {*make_samples.PAPER, *make_samples.P5, "p5_2_7"}
    assert names == {*kinds, "ut_at", "raat", "ut_ie", "p5"}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=f"{case['name']}-{case['split']}-{n}")
        for n, case in enumerate(make_samples.read(FILE)["cases"])
    ],
)
def test_samples_are_those_of_the_file(case, registered):
    made = make_samples.examples_of(case)
    assert made[: len(case["examples"])] == case["examples"]
    assert make_samples.digest(made) == case["digest"]
