"""The demo's steps, each a command; their work is tested where it is done."""

import subprocess
import sys

import pytest

from recalign import demo
from recalign.data.synthetic import CorpusConfig, prepare_demo
from recalign.errors import Stopped, UserError


@pytest.fixture
def steps(monkeypatch):
    """The commands that are run, and the statuses that they end with, in turn."""
    ran, statuses = [], []

    def run(words, env):
        assert words[:3] == [sys.executable, "-m", "recalign"]
        ran.append((words[3:], env.get("JAX_PLATFORMS")))
        return subprocess.CompletedProcess(words, statuses.pop(0) if statuses else 0)

    monkeypatch.setattr(demo.subprocess, "run", run)
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    return ran, statuses


def test_it_prepares_trains_measures_and_reports(steps):
    said = []
    report = demo.run_demo(0, None, said.append)
    assert str(report) == "runs/demo/report.html"
    prepare, train, baselines, page = (words for words, _ in steps[0])
    assert prepare == ["prepare", "demo", "--item_tokens", "--seed", "0", "--data_dir", "data"]
    assert train[:2] == ["train", "--gin_file=ut_at_demo.gin"]
    assert "--gin.MODEL_DIR='runs/demo'" in train and "--gin.RANDOM_SEED=0" in train
    assert baselines[:4] == ["baselines", "demo", "--models", "popularity,history,graph,optimum"]
    assert page[:3] == ["report", "runs/demo", "runs/demo/baselines"]
    assert len(said) == 3


def test_seeds_share_neither_data_nor_run(steps):
    demo.run_demo(12, None, print)
    prepare, train, *_ = (words for words, _ in steps[0])
    assert prepare[-1] == "data/seed12"
    assert "--gin.MODEL_DIR='runs/demo-seed12'" in train and "--gin.RANDOM_SEED=12" in train


def test_the_quick_one_is_small_and_shares_nothing_with_the_other(steps):
    assert str(demo.run_demo(0, None, print, quick=True)) == "runs/demo-quick/report.html"
    prepare, train, baselines, page = (words for words, _ in steps[0])
    assert prepare[-4:] == ["--data_dir", "data/quick", "--users", "400"]
    assert "--gin.MODEL_DIR='runs/demo-quick'" in train and "--gin.TRAIN_STEPS=20" in train
    assert all("data/quick" in words for words in (train, baselines, page))
    demo.run_demo(7, None, print, quick=True)
    prepare, train, *_ = (words for words, _ in steps[0][4:])
    assert "data/quick/seed7" in prepare
    assert "--gin.MODEL_DIR='runs/demo-quick-seed7'" in train


@pytest.mark.parametrize("seed", range(3))
def test_the_quick_corpus_can_be_drawn(tmp_path, seed):
    """The 5-core of so few users may not drop an item."""
    users = int(demo._QUICK_CORPUS[1])
    config = CorpusConfig(users=users)
    dataset = prepare_demo(tmp_path, seed, item_tokens=True, config=config)
    assert len(dataset.sequences("train").users) == users


@pytest.mark.parametrize(("plugin", "platform"), [(True, None), (False, "cpu")])
def test_a_gpu_is_used_where_its_plug_in_is(steps, monkeypatch, plugin, platform):
    found = lambda name: object() if plugin and name == "jax_cuda13_plugin" else None  # noqa: E731
    monkeypatch.setattr(demo.importlib.util, "find_spec", found)
    demo.run_demo(0, None, print)
    assert {platform for _, platform in steps[0]} == {platform}


@pytest.mark.parametrize(("status", "error"), [(2, UserError), (75, Stopped), (130, Stopped)])
def test_it_ends_where_a_step_does(steps, status, error):
    steps[1].extend([0, status])
    with pytest.raises(error) as ended:
        demo.run_demo(0, None, print)
    assert len(steps[0]) == 2
    if error is Stopped:
        assert ended.value.status == status


def test_a_name_that_gin_cannot_hold(steps):
    with pytest.raises(UserError, match="a quote or a backslash"):
        demo.run_demo(0, "it's", print)
    assert steps[0] == []
