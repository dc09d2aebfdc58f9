"""README's "Your own log" and its Python, run from top to bottom on a made-up shop."""

import os
import pathlib
import random
import re

import pytest

from tests.commands import run_all
from tests.pages import ROOT, blocks, script

README = ROOT / "README.md"

# What makes the training short; all else is as it stands there. The test is left to the next verb.
SMALL = ("--gin.NUM_ENCODER_LAYERS=1", "--gin.VOCAB_SIZE=1152")
SHORT = {
    "train": [
        *("--gin.TRAIN_STEPS=2", "--gin.EVAL_PERIOD=0", "--gin.BATCH_SIZE=2"),
        *("--gin.TEST_SPLIT=None", *SMALL),
    ],
    "eval": ["--max_examples=4", "--gin.BEAM_SIZE=10", *SMALL],
}


def walk() -> list[list[str]]:
    """The words of every command of "Your own log", `recalign` first."""
    block = next(block for block in blocks(README, "sh") if "--interactions" in block)
    return script(block).commands


def make_shop(folder: pathlib.Path) -> None:
    """300 customers who buy 6 to 9 of 150 products, neighbours in the catalogue in turn."""
    draw = random.Random(0)
    kinds, colours = ("pot", "lamp", "rug", "chair", "vase"), ("red", "blue", "green", "grey")
    names = [f"{draw.choice(colours)} {draw.choice(kinds)} no. {n}" for n in range(150)]
    products = [f'{1000 + n},"{name}",{draw.randint(5, 90)}.99' for n, name in enumerate(names)]
    (folder / "products.csv").write_text("\n".join(["sku,name,price", *products]))
    lines = ["customer,sku,bought_at,stars"]
    for customer in range(300):
        first = draw.randrange(150)
        for step in range(draw.randint(6, 9)):
            sku = 1000 + (first + step * draw.choice((1, 2))) % 150
            when = f"2024-0{1 + step}-{1 + draw.randrange(28):02} 12:00"
            lines.append(f"c{customer},{sku},{when},{draw.randint(1, 5)}")
    (folder / "events.csv").write_text("\n".join(lines))


@pytest.mark.usefixtures("quick_compilation")
def test_every_command_of_the_section_runs_in_its_order(tmp_path):
    make_shop(tmp_path)
    written, programs = walk(), blocks(README, "python")
    assert {program for program, *_ in written} == {"recalign"} and programs
    *outcomes, of_python = run_all(
        [*([verb, *words, *SHORT.get(verb, ())] for _, verb, *words in written), *programs],
        cwd=tmp_path,
        environment={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    said = {}
    for outcome in outcomes:
        verb = outcome.args[0]
        assert outcome.returncode == 0, f"{verb}: {outcome.stderr[-3000:]}"
        said[verb] = outcome.stdout
    assert list(said) == [
        "prepare", "stats", "show", "train", "eval", "recommend", "baselines", "report",
    ]  # fmt: skip
    assert re.search(r"^shop +300 ", said["prepare"], re.MULTILINE)
    assert "What would the user buy next?" in " ".join(said["show"].split())
    items = said["recommend"].strip().splitlines()
    assert len(items) == 5
    assert of_python.returncode == 0, of_python.stderr[-3000:]
    # The same from Python, which prints score, the log's own ID and title.
    parts = [re.split(" {2,}", item) for item in items]
    expected = [f"{score} {raw_id} {title}" for score, _, raw_id, title in parts]
    assert of_python.stdout.splitlines() == expected
    assert (tmp_path / "report.html").stat().st_size > 10_000
