"""What the heads of gin files say of packed rows, measured again on Toys where it is there."""

import gzip
import pathlib
import re

import numpy as np
import pytest

from recalign.data.from_files import prepare_from_files
from recalign.plan.filling import Filling, measure
from recalign.trainer.experiment import load_experiment
from tests.corpus import shared_data

ROOT = pathlib.Path(__file__).resolve().parents[2]
IN_TABLE = re.compile(r"^#   (\w+) +(\d+) +(\{.+\}) +([\d.]+)$", re.M)


def experiment_of(*files, **macros):
    bindings = [f"{name} = {value!r}" for name, value in macros.items()]
    return load_experiment(list(files), ["MODEL_DIR = 'unused'", *bindings])


def said(name):
    """How many examples a step holds by an experiment's head."""
    found = re.search(r"^# A step: .* they hold ([\d,]+) examples", (ROOT / name).read_text(), re.M)
    return int(found[1].replace(",", ""))


def recommended():
    """By experiment: BATCH_SIZE, TASK_FEATURE_LENGTHS and the examples that they hold."""
    rows = IN_TABLE.findall((ROOT / "gin/runs/packed.gin").read_text())
    return {name: (rows, lengths, float(held)) for name, rows, lengths, held in rows}


def test_the_rows_of_the_table_are_lines_to_paste():
    assert set(recommended()) == {"reat_toys", "raat_toys", "ut_at_toys"}
    for name, (rows, lengths, held) in recommended().items():
        files = [f"gin/{name}.gin", "gin/runs/packed.gin"]
        pasted = load_experiment(
            files,
            ["MODEL_DIR = 'x'", f"BATCH_SIZE = {rows}", f"TASK_FEATURE_LENGTHS = {lengths}"],
        )
        alone = load_experiment(files[:1], ["MODEL_DIR = 'x'"])
        assert pasted.pack and not alone.pack
        assert alone.batch_size <= held < 1.1 * alone.batch_size
        for kind, length in alone.task_feature_lengths.items():
            assert pasted.task_feature_lengths[kind] >= length, "no example is cut shorter"


def test_own_gin_counted_from_the_log():
    """Its samples are IDs alone, a token each and EOS: no more than the users' lengths matter.

    All of a user's items but the first and the last two are targets, after up to twenty others.
    """
    path = shared_data() / "amazon" / "toys.sequences.tsv.gz"
    with gzip.open(path, "rt") as lines:
        users = [len(line.split("\t")[1].split()) for line in lines]
    inputs = np.concatenate([np.minimum(np.arange(1, size - 2), 20) + 1 for size in users])
    drawn = np.random.default_rng(0).permutation(inputs)[: 8 * 2048].reshape(8, 2048)
    experiment = experiment_of("gin/own.gin", MIXTURE_OR_TASK_NAME="tiger_toys", VOCAB_SIZE=14080)
    sizes = tuple({"inputs": row, "targets": np.full(2048, 2)} for row in drawn)
    lengths = experiment.task_feature_lengths
    held = Filling(sizes, lengths).packed(experiment.batch_size, lengths).examples
    assert said("gin/own.gin") == pytest.approx(held, rel=0.01)


def toys(folder, vocabulary, **settings):
    amazon = shared_data() / "amazon"
    prepare_from_files(
        "toys",
        data_dir=folder,
        format="sequences",
        interactions=amazon / "toys.sequences.tsv.gz",
        items=amazon / "toys.items.tsv.gz",
        sentencepiece_model=vocabulary,
        **settings,
    )
    return str(folder)


@pytest.mark.slow
def test_the_figures_are_the_planners(tmp_path):
    vocabulary = shared_data() / "t5_vocab" / "sentencepiece.model"
    spelled = toys(tmp_path / "spelled", vocabulary)
    for name, (rows, lengths, held) in recommended().items():
        experiment = experiment_of(f"gin/{name}.gin", DATA_DIR=spelled)
        found = measure(experiment).recommended(experiment.batch_size, copies=4)
        assert found.gin()[1:] == [f"BATCH_SIZE = {rows}", f"TASK_FEATURE_LENGTHS = {lengths}"]
        assert f"{found.examples:.1f}" == str(held)
    tokens = toys(tmp_path / "tokens", vocabulary, item_tokens=True)
    for name, mixture in (("gin/own.gin", "tiger_toys"), ("gin/own/flan_t5_base.gin", "reat_toys")):
        of_file = {"VOCAB_SIZE": 44_032, "INITIAL_CHECKPOINT_PATH": ""}
        experiment = experiment_of(name, MIXTURE_OR_TASK_NAME=mixture, DATA_DIR=tokens, **of_file)
        lengths = experiment.task_feature_lengths
        held = measure(experiment).packed(experiment.batch_size, lengths).examples
        assert round(held) == said(name)
