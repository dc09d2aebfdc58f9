"""docs/serving.md, every command of it in its order, on a run for real; and what HTTP answers."""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from recalign.trainer.recommend import Recommender
from tests.trainer.test_recommend_many import assert_alike

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

ROOT = pathlib.Path(__file__).resolve().parents[2]


def script(port):
    """The page's commands, with a port that is free."""
    page = (ROOT / "docs" / "serving.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 6
    text = "\n".join(blocks).replace("8000", str(port))
    return f"set -euo pipefail\n{text}"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_every_command_of_the_page(trained, semantic_run, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "shop").symlink_to(trained[0].model_dir)
    (tmp_path / "runs" / "codes").symlink_to(semantic_run[0])
    (tmp_path / "new_items.csv").write_text("item,title\nnew1,wooden dragon\nnew2,red kite\n")
    recommender = Recommender(trained[0].model_dir)
    raw = recommender.dataset.catalogue.raw_ids
    (tmp_path / "visits.csv").write_text(f"user,item,time\neve,{raw[2]},1\neve,{raw[8]},2\n")
    (tmp_path / "returned.csv").write_text(f"user,item,time\neve,{raw[4]},1\n")
    (tmp_path / "in_stock.txt").write_text("".join(f"I{n}\n" for n in range(1, 30)))
    in_stock = ["I4", "I5", "I9", "I17"]
    (tmp_path / "subsets.json").write_text(json.dumps({"in_stock": in_stock}))
    program = tmp_path / "bin" / "recalign"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m recalign "$@"\n')
    program.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    outcome = subprocess.run(
        ["bash", "-c", script(port)],
        cwd=tmp_path,
        env={
            **os.environ,
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
            "JAX_PLATFORMS": "cpu",
        },
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stderr
    assert pq.read_table(tmp_path / "tonight.parquet").num_rows == 60 * 5
    visitors = pq.read_table(tmp_path / "visitors.parquet").to_pylist()
    assert {row["user"] for row in visitors} == {"eve"}
    assert not {row["id"] for row in visitors} & {"I3", "I5", "I9"}
    # Answers stand one after the other: the probe's, then those of the requests.
    decoder, answers, rest = json.JSONDecoder(), [], outcome.stdout
    while rest.startswith("{"):
        answer, end = decoder.raw_decode(rest)
        answers.append(answer)
        rest = rest[end:]
    ready, one, several, changed = answers
    assert ready == {"status": "ready"}
    assert one["user"] == 7
    expected = recommender.recommend(["I3", "I17"], 5, in_stock, exclude=["I9"])
    assert_alike([_Item(item) for item in one["items"]], expected)
    for found, history, k in zip(several["answers"], (["I3"], ["I17", "I4"]), (10, 2), strict=True):
        expected = recommender.recommend(history, k)
        assert_alike([_Item(item) for item in found["items"]], expected)
    assert changed == {"subsets": {"weekend": 2, "in_stock": 2}}
    assert 'recalign_responses_total{path="/recommend",status="200"} 2.0' in rest
    assert '"openapi"' in rest
    # Five items of the other run; what its file has is told.
    assert re.search(r"(\n|})(\d\.\d{4}  I.*\n){5}$", rest)
    assert "2 new items, which the model was not trained on, beside 50" in outcome.stderr


class _Item:
    def __init__(self, item):
        self.id, self.score = item["id"], item["score"]
