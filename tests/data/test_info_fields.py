"""A dataset.json that somebody changed who can write digests: one line names field and value."""

import json
import pathlib
import shutil

import pytest

from recalign.cli import main
from recalign.data import integrity
from recalign.data.info_fields import FIELDS, fault_of
from recalign.data.prepared import open_dataset
from recalign.errors import UserError

_DIGEST = "0" * 64
_RATINGS = {
    "number": 9, "minimum": 1.0, "maximum": 5.0, "zeros": 0, "likes": 4, "whole": True,
    "threshold": 3.0,
}  # fmt: skip
_SEMANTIC = {
    "embed": "tfidf", "codebook_size": 8, "collision_rate": 0.1, "codebook_use": [1.0, 0.5],
    "prefix_purity": [0.5], "chance_purity": [0.2],
}  # fmt: skip


@pytest.fixture
def path(data_dir, tmp_path) -> pathlib.Path:
    """The file, in a folder of the test's own."""
    shutil.copytree(pathlib.Path(data_dir) / "tiny", tmp_path / "tiny")
    return tmp_path / "tiny" / "1.0.0" / "dataset.json"


@pytest.fixture
def info(path) -> dict:
    return json.loads(path.read_text())


def test_every_field_that_is_written_has_a_check(info):
    assert info.keys() - {integrity.DIGEST} == FIELDS.keys()
    assert fault_of(info) is None


def test_what_other_datasets_have_is_no_fault(info):
    train = info["shards"]["train"]
    other = {
        "semantic_ids": _SEMANTIC, "item_tokens": {"first": 32_100, "count": 50},
        "base_vocabulary": _DIGEST, "split": "temporal", "cuts": [10.0, 20.5],
        "tied_last_fraction": 0.5, "ties_sorted_by_item": True, "trained_later_fraction": 0.0,
        "wording": {"noun": "films", "verb": ["watched", "watch"]}, "ratings": _RATINGS,
        "shards": {**info["shards"], "train": [[train[0][0] - 1, _DIGEST], [1, _DIGEST]]},
    }  # fmt: skip
    assert fault_of(info | other) is None
    assert fault_of(info | {"has_ratings": False, "ratings": None}) is None


_WRONG = [
    ("name", 7), ("name", ""), ("version", None), ("seed", -1), ("seed", True), ("seed", "0"),
    ("k_core", 2.5), ("item_ids", "lucky"), ("item_ids", ["random"]),
    ("semantic_ids", 7), ("semantic_ids", {}), ("semantic_ids", {**_SEMANTIC, "embed": None}),
    ("semantic_ids", {**_SEMANTIC, "codebook_use": 7}),
    ("semantic_ids", {**_SEMANTIC, "codebook_use": [1.5]}),
    ("semantic_ids", {**_SEMANTIC, "chance_purity": None}),
    ("item_tokens", []), ("item_tokens", {"first": 1, "last": 2}),
    ("item_tokens", {"first": 1, "count": 10**30}), ("item_tokens", {"first": -1, "count": 5}),
    ("item_tokens", {"first": 1, "count": 5, "more": 1}),
    ("base_vocabulary", 7), ("ids_alike", 1), ("has_ratings", 1),
    ("has_reviews", None),
    ("users", -5), ("users", 0), ("users", 60.0), ("users", 61), ("users", 10**400), ("items", 0),
    ("items", "50"), ("interactions", -1), ("interactions", {}),
    ("sparsity_percent", "x"), ("sparsity_percent", 101), ("sparsity_percent", float("nan")),
    ("sequence_length_mean", "x"), ("sequence_length_mean", float("inf")),
    ("sequence_length_mean", 3.0), ("sequence_length_mean", 10**400),
    ("sequence_length_std", None), ("sequence_length_std", -0.1),
    ("tied_last_fraction", "x"), ("tied_last_fraction", 1.5), ("ties_sorted_by_item", 7),
    ("trained_later_fraction", -1), ("trained_later_fraction", [0.5]),
    ("split", 7), ("split", "none"), ("cuts", [1]), ("cuts", [2.0, 1.0]), ("cuts", ["1", "2"]),
    ("cuts", 7),
    ("ratings", 7), ("ratings", {}), ("ratings", []), ("ratings", {**_RATINGS, "minimum": "1"}),
    ("ratings", {**_RATINGS, "minimum": 6}), ("ratings", {**_RATINGS, "likes": 10}),
    ("ratings", {**_RATINGS, "threshold": float("nan")}), ("ratings", {**_RATINGS, "whole": 1}),
    ("wording", 7), ("wording", None), ("wording", {"noun": "", "verb": 7}),
    ("wording", {"noun": "", "verb": ["watched"]}), ("wording", {"noun": 7, "verb": []}),
    ("wording", {"noun": "{history}", "verb": []}),
    ("sources", 7), ("sources", {}), ("notes", 7), ("notes", [7]), ("notes", None),
    ("fingerprint", ""), ("fingerprint", []), ("shards", {}), ("shards", []),
    ("shards", {"train": 7, "validation": [[1, "a"]], "test": [[1, "a"]]}),
    ("shards", {"train": [[-1, "a"]], "validation": [[1, "a"]], "test": [[1, "a"]]}),
    ("shards", {"train": [[True, "a"]], "validation": [[1, "a"]], "test": [[1, "a"]]}),
    ("shards", {"train": [[60, 7]], "validation": [[1, "a"]], "test": [[1, "a"]]}),
    ("shards", {"train": [[60, "a"]], "validation": [], "test": [[1, "a"]]}),
    ("files", []), ("files", {}), ("files", {"items.parquet": 7}),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), _WRONG)
def test_a_value_that_no_dataset_has_is_refused(path, info, field, value):
    path.write_text(integrity.sealed_json(info | {field: value}))
    with pytest.raises(UserError) as error:
        open_dataset("tiny", path.parents[2])
    said = str(error.value)
    assert said.startswith(f"{path}: damaged ({field} is {repr(value)[:90]}")
    assert said.endswith("prepare the dataset again") and "\n" not in said and len(said) < 500


MAY_BE_NULL = {
    "semantic_ids", "item_tokens", "base_vocabulary", "cuts",
    "tied_last_fraction", "ties_sorted_by_item", "trained_later_fraction",
}  # fmt: skip
"""Of a dataset that has ratings."""


@pytest.mark.parametrize("field", sorted(set(FIELDS) - {"name"}))
def test_a_field_that_is_missing_is_refused_unless_it_may_be_null(path, info, field):
    del info[field]
    path.write_text(integrity.sealed_json(info))
    if field in MAY_BE_NULL:
        assert open_dataset("tiny", path.parents[2]).name == "tiny"
        return
    with pytest.raises(UserError, match=rf"damaged .*(no {field}: an earlier|ratings is null)"):
        open_dataset("tiny", path.parents[2])


def test_the_command_line_ends_with_one_line(path, info, capsys):
    path.write_text(integrity.sealed_json(info | {"users": -5}))
    assert main(["stats", "tiny", "--data_dir", str(path.parents[2])]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1 and "users is -5" in printed.err
