"""Logs of one's own, from the file to the report: events with a verb, a split by time, no access to
T5's vocabulary, no times, ties. What a person reads at each step."""

import contextlib
import html
import io
import os
import pathlib
import re

import pytest

from recalign import cli
from tests.commands import NOWHERE, away_from_any_network, run_all

ROOT = pathlib.Path(__file__).resolve().parents[1]
USERS, MONTHS, TUNES = 40, 6, 40

LOG = ["--interactions", "log.csv", "--items", "tunes.csv", "--k_core", "0"]
PLAYS = ["--event_column", "event", "--events", "play"]
WORDS = ["--noun", "tunes", "--verb", "listened to,listen to"]
OWN = ["--item_tokens", "--vocabulary", "own"]
TEMPORAL = ["--split", "temporal", "--cuts", "2024-05-01,2024-06-01"]
EXPERIMENT = ["--gin_file=gin/own.gin", "--gin.MIXTURE_OR_TASK_NAME='tiger_tunes'"]
# Those of README's walk.
EXPERIMENT += ["--gin.VOCAB_SIZE=14080", "--gin.MODEL_DIR='runs/tunes'"]
EXPERIMENT += ["--gin.NUM_ENCODER_LAYERS=1", "--gin.BEAM_SIZE=10"]
SHORT = ["--gin.TRAIN_STEPS=2", "--gin.BATCH_SIZE=2", "--gin.EVAL_PERIOD=0"]

COMMANDS = {
    "prepare": ["prepare", "tunes", *LOG, *PLAYS, *WORDS, *OWN, *TEMPORAL],
    "stats": ["stats", "tunes", "--leaks"],
    "show": ["show", "retrieval_tunes", "--split", "test", "--n", "1"],
    "untimed": ["prepare", "untimed", *LOG, *PLAYS, "--time_column="],
    "untimed stats": ["stats", "untimed", "--leaks"],
    "no vocabulary": ["prepare", "tokens", *LOG, "--item_tokens"],
    "ties": ["prepare", "ties", "--interactions", "ties.csv", "--k_core", "0"],
    "ties stats": ["stats", "ties", "--leaks"],
    "beam": ["prepare", "beamed", *LOG, *TEMPORAL, "--beam_runner", "direct"],
}
FAIL = ("no vocabulary", "beam")
TRAINING = [
    ["train", *EXPERIMENT, *SHORT, "--gin.TEST_SPLIT=None"],
    ["eval", *EXPERIMENT, "--split", "test"],
    ["report", "runs/tunes", "--out", "report.html"],
]


ENVIRONMENT = {
    "PYTHONPATH": str(ROOT),
    "https_proxy": NOWHERE,
    "HTTPS_PROXY": NOWHERE,
}


def write_logs(folder: pathlib.Path) -> None:
    """40 listeners play a tune a month, and skip another. In the last month, which the second cut
    parts from the rest, every fourth of them plays a tune that nobody has played before."""
    titles = [f"{n},{('waltz', 'march', 'song', 'reel')[n % 4]} no. {n}" for n in range(TUNES)]
    new = [f"{TUNES + n},new tune no. {n}" for n in range(5)]
    (folder / "tunes.csv").write_text("\n".join(["sku,name", *titles, *new]))
    lines = ["listener,sku,event,heard"]
    for user in range(USERS):
        for month in range(MONTHS):
            is_new = month == MONTHS - 1 and user % 4 == 0
            tune = TUNES + user // 4 % 5 if is_new else (3 * user + 7 * month) % TUNES
            day = f"2024-0{month + 1}-{1 + user % 28:02}"
            lines.append(f"u{user},{tune},play,{day} 20:00")
            lines.append(f"u{user},{(user + month) % TUNES},skip,{day} 21:00")
    (folder / "log.csv").write_text("\n".join(lines))
    # Sorted by item; 27 of 60 users (45 %) have the last two items on one day.
    lines = []
    for user in range(60):
        days = (1, 2, 3, 3) if user < 27 else (1, 2, 3, 4)
        lines += [
            (f"i{5 * n + user % 5:02}", f"u{user}", f"2024-03-0{d}") for n, d in enumerate(days)
        ]
    ties = [",".join(line) for line in sorted(lines)]
    (folder / "ties.csv").write_text("\n".join(["item,user,date", *ties]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("own_log")


@pytest.fixture(scope="module")
def said(folder):
    """What each command wrote, its notes after its results, where no network is."""
    write_logs(folder)
    written = {}
    with away_from_any_network(folder):
        for name, words in COMMANDS.items():
            out, err = io.StringIO(), io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                status = cli.main(words)
            written[name] = out.getvalue() + err.getvalue()
            assert status == (2 if name in FAIL else 0), f"{name}: {written[name][-3000:]}"
    return written


def test_the_chosen_events_and_their_verb_are_in_the_prompts(said):
    assert "log.csv: events that count: play (of play 240, skip 240)" in said["prepare"]
    assert re.search(r"^tunes +40 +45 +240 ", said["prepare"], re.MULTILINE)
    prompt = " ".join(said["show"].split())
    assert "A user has listened to the following tunes (arranged" in prompt
    assert "What would the user listen to next?" in prompt
    assert "purchase" not in prompt and "buy" not in prompt


def test_a_split_by_time_counts_what_training_never_showed(said):
    for verb in ("prepare", "stats"):
        assert (
            "split by time at 2024-05-01 00:00 and 2024-06-01 00:00: 40 users to train on, 40 with"
            " a validation item, 40 with a test item\n"
            "5 of 45 items are in no training part, and so are 10 of 40 test items (25.0 %)\n"
        ) in said[verb]
    assert (
        "ok    training after the test moment: the test item of 0.00% of 40 users is in training"
        " parts of others after the moment that is asked about\n"
    ) in said["stats"]


@pytest.mark.slow
@pytest.mark.usefixtures("said", "quick_compilation")
def test_the_report_shows_the_cold_slice(folder):
    for outcome in run_all(TRAINING, cwd=folder, environment={**os.environ, **ENVIRONMENT}):
        assert outcome.returncode == 0, f"{outcome.args[0]}: {outcome.stderr[-3000:]}"
    page = html.unescape((folder / "report.html").read_text())
    words = "0 (cold): the cold slice, users whose item is unseen in training: 10 of 40 (25.0 %)."
    assert page.count(words) == 3  # the caption, its words, the table's note
    title = "HR@10 of retrieval on tunes by interactions with the item in training"
    table = re.search(rf"<caption>{re.escape(title)}.*?</table>", page, re.DOTALL)[0]
    columns = re.findall(r"<th[^>]*scope=\"col\"[^>]*>(.*?)</th>", table, re.DOTALL)
    assert "0 (cold)" in columns[1]
    users = re.findall(r"<td[^>]*>(.*?)</td>", table.split("users", 1)[1], re.DOTALL)
    assert users[0].strip() == "10"


def test_a_log_without_times_is_told_when_it_is_prepared_and_by_stats(said):
    words = (
        "warning: log.csv: no time column: the order of the file is taken for it (not used: heard;"
        " name it with --time_column)"
    )
    assert words in said["untimed"] and words in said["untimed stats"]
    assert (
        "risk  order of time: the log has no time column: the order of the file is taken for it,"
        " and which item is asked depends on how the file was sorted\n"
    ) in said["untimed stats"]
    assert "ties in time" not in said["untimed stats"]


def test_ties_for_45_percent_of_the_users_in_a_file_sorted_by_item_are_a_named_risk(said):
    words = "the last two items of 45.0 % of the users"
    assert words in said["ties"] and words in said["ties stats"]
    assert (
        "risk  ties in time: the last two items of 45.00% of 60 users have the same timestamp, so"
        " that the order of the file, which puts them in the order of their IDs, decides which is"
        " asked (more than 50% leaks)\n"
    ) in said["ties stats"]


ADDRESS = "https://storage.googleapis.com/t5-data/vocabs/cc_all.32000.100extra/sentencepiece.model"


def test_without_access_prepare_says_where_t5s_vocabulary_is_and_what_needs_none(said):
    warning = said["untimed"].splitlines()[-1]
    assert warning.startswith("warning: T5's vocabulary gs://t5-data/vocabs/")
    assert warning.endswith(
        "prompts and training need one: prepare again with --sentencepiece_model FILE, a copy of it"
        f" from {ADDRESS}, or with --item_tokens --vocabulary own, which needs none; baselines need"
        " none either"
    )
    (refusal,) = said["no vocabulary"].splitlines()
    assert refusal.startswith("recalign: error: gs://t5-data/vocabs/")
    assert refusal.endswith(
        f": give a copy of it, from {ADDRESS}, by --sentencepiece_model FILE, or --vocabulary own,"
        " which needs none"
    )
    assert "T5's vocabulary" not in said["prepare"]


def test_a_split_by_time_on_beam_is_refused_in_a_line(said, folder):
    assert said["beam"] == (
        "recalign: error: --split temporal is not there with --beam_runner: leave one of them out\n"
    )
    assert not (folder / "data" / "beamed").exists()
