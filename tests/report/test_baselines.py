import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recalign.errors import UserError
from recalign.report.baselines import is_baselines, read_baselines, read_outcomes
from tests.report.shop import INF, write_baselines


def test_figures_and_outcomes_of_every_model(tmp_path, run_directory):
    folder = write_baselines(tmp_path / "b", {"popularity": (3, INF, 0), "sasrec": (0, 0, 0)})
    assert is_baselines(folder) and not is_baselines(run_directory)
    found = read_baselines(folder)
    assert found.gaps == ()
    assert found.outcomes["popularity"]["retrieval_shop"].ranks.tolist() == [3.0, 500.0, 0.0]
    assert found.metrics["sasrec"]["retrieval_shop"]["hr@5"] == 1.0
    assert found.systems["sasrec"]["settings"] == {"k": 64}


def test_ranks_that_are_missing_are_named(tmp_path):
    folder = write_baselines(tmp_path / "b", {"popularity": (3, 1)})
    (folder / "ranks" / "popularity-retrieval_shop.parquet").unlink()
    assert "popularity has no intervals" in read_baselines(folder).gaps[0]


def test_rows_are_sorted_and_what_is_not_ranked_is_a_miss(tmp_path):
    pq.write_table(pa.table({"row": [2, 0, 1], "rank": [5, -1, 3]}), tmp_path / "r.parquet")
    outcomes = read_outcomes(tmp_path / "r.parquet")
    assert outcomes.rows.tolist() == [0, 1, 2]
    assert outcomes.ranks.tolist() == [np.inf, 3.0, 5.0]


def test_scores_have_labels(tmp_path):
    table = pa.table({"row": [1, 0], "score": [0.5, 2.0], "label": pa.array([1, 0], pa.int8())})
    pq.write_table(table, tmp_path / "s.parquet")
    outcomes = read_outcomes(tmp_path / "s.parquet")
    assert (outcomes.scores.tolist(), outcomes.labels.tolist()) == ([2.0, 0.5], [0, 1])


def test_damaged_files_are_refused(tmp_path):
    folder = write_baselines(tmp_path / "b", {"popularity": (3, 1)})
    (folder / "ranks" / "popularity-retrieval_shop.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match="no file of ranks"):
        read_baselines(folder)
    (folder / "results.json").write_text(json.dumps({"engine": "baselines", "references": 3}))
    with pytest.raises(UserError, match="results.json"):
        read_baselines(folder)
    found = {"engine": "baselines", "systems": {"sasrec": {"seconds": "long"}}}
    (folder / "results.json").write_text(json.dumps(found))
    with pytest.raises(UserError, match="results.json: .*long"):
        read_baselines(folder)
    found = {"engine": "baselines", "evaluated": {"retrieval_shop": 7}}
    (folder / "results.json").write_text(json.dumps(found))
    with pytest.raises(UserError, match="says of 'retrieval_shop' no kind: 7"):
        read_baselines(folder)


_ROWS = pa.array([0, 1, 2])
_LABELS = pa.array([1, 0, 1], pa.int8())


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"row": [0, 1, 1], "rank": [0, 0, 0]}, "row 1 stands there twice"),
        ({"row": [0, -1, 1], "rank": [0, 0, 0]}, "row is -1"),
        ({"row": [0, 10**12, 1], "rank": [0, 0, 0]}, "row is 1000000000000"),
        ({"row": [0, None, 1], "rank": [0, 0, 0]}, "row is null"),
        ({"row": [0.0, 1.0, 2.0], "rank": [0, 0, 0]}, "row is of type double"),
        ({"row": ["0", "1", "2"], "rank": [0, 0, 0]}, "row is of type string"),
        ({"row": pa.array([], pa.int64()), "rank": pa.array([], pa.int64())}, "it has no user"),
        ({"rank": [0, 0, 0]}, "0 columns are called row"),
        ({"row": _ROWS}, "0 columns are called label"),
        ({"row": _ROWS, "rank": [0.0, float("nan"), 1.0]}, "rank is null or NaN"),
        ({"row": _ROWS, "rank": [0, None, 1]}, "rank is null or NaN"),
        ({"row": _ROWS, "rank": ["0", "1", "2"]}, "rank is of type string"),
        ({"row": _ROWS, "rank": [[0], [1], [2]]}, "rank is of type list"),
        ({"row": _ROWS, "score": [0.1, None, 0.2], "label": _LABELS}, "score is null or NaN"),
        ({"row": _ROWS, "score": [0.1, 0.3, 0.2], "label": [1, 0, 7]}, "label is 7"),
        ({"row": _ROWS, "score": [0.1, 0.3, 0.2], "label": [1, 0, None]}, "label is null"),
    ],
)  # fmt: skip
def test_ranks_that_no_measurement_writes_are_refused(tmp_path, columns, said):
    path = tmp_path / "r.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(UserError) as error:
        read_outcomes(path)
    assert str(error.value).startswith(f"{path}: no file of ranks or scores ({said}")
    assert "\n" not in str(error.value)


def test_two_columns_of_one_name_are_refused(tmp_path):
    path = tmp_path / "r.parquet"
    pq.write_table(pa.Table.from_arrays([_ROWS] * 3, ["row", "rank", "rank"]), path)
    with pytest.raises(UserError, match=r"scores \(Multiple matches for .*rank"):
        read_outcomes(path)
