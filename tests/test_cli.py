import errno
import json
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from recalign import asking, cli, host_memory, quiet, verbs, weights
from recalign.data import prepared
from recalign.errors import UserError

ROOT = pathlib.Path(__file__).resolve().parents[1]
VERBS = (
    "demo", "prepare", "stats", "show", "train", "eval", "recommend", "serve", "baselines",
    "plan", "convert", "experiments", "report",
)  # fmt: skip


@pytest.fixture
def quick(monkeypatch):
    """Without TensorFlow: for what happens before any room is entered."""
    monkeypatch.setattr(quiet, "load_tensorflow", lambda: None)
    return monkeypatch


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb, capsys):
    with pytest.raises(SystemExit) as leaving:
        cli.main([verb, "--help"])
    assert leaving.value.code == 0
    text = capsys.readouterr().out
    assert f"example:\n  recalign {verb} " in text


def test_the_help_names_the_verbs_and_promises_no_other(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert re.findall(r"^    (\w+)", text, re.MULTILINE) == list(VERBS)


def test_examples_in_the_help_are_commands_that_parse(quick, capsys):
    seen = []
    for verb in VERBS:
        room = asking if verb in ("recommend", "serve") else verbs
        quick.setattr(room, "evaluate" if verb == "eval" else verb, seen.append)
    for verb in VERBS:
        with pytest.raises(SystemExit):
            cli.main([verb, "--help"])
        example = capsys.readouterr().out.split("example:\n")[1].strip()
        assert cli.main(shlex.split(example)[1:]) == 0
    assert [options.verb for options in seen] == list(VERBS)


def test_help_waits_for_no_heavy_library():
    script = (
        "import sys; from recalign import cli; cli.build_parser();"
        "print({'tensorflow', 'jax', 'seqio', 'numpy', 'matplotlib'} & set(sys.modules))"
    )
    outcome = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert outcome.stdout == "set()\n", outcome.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["stats"],
        ["stats", "demo", "--jsn"],
        ["stats", "demo", "--history_length", "0"],
        ["stats", "demo", "--gin.TRAIN_STEPS=5"],
        ["show", "retrieval_demo", "--split", "tests"],
        ["show", "retrieval_demo", "--n", "many"],
        ["train"],
        ["train", "--gin_file=x.gin", "--gin.TRAIN_STEPS", "5"],
        ["train", "--gin_file=x.gin", "--gin.=5"],
        ["train", "--gin_file=x.gin", "--gin.MODEL_DIR"],
        ["eval", "--gin_file=x.gin", "--checkpoint", "newest"],
        ["eval", "--gin_file=x.gin", "--split", "train"],
        ["prepare", "demo", "--max_bad_fraction", "2"],
        ["prepare", "demo", "--seed", "-1"],
        ["prepare", "demo", "--item_ids", "alphabetical"],
        ["prepare", "mine", "--beam_runner", "threads"],
        ["recommend", "--model_dir", "runs/x", "--history", " , "],
        ["recommend", "--model_dir", "runs/x", "--all", "--out", "x", "--shard", "2/2"],
        ["report"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_parsed_ends_with_status_2(arguments, quick, capsys):
    with pytest.raises(SystemExit) as leaving:
        cli.main(arguments)
    assert leaving.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_gin_flags_reach_the_experiment_as_bindings(quick):
    seen = []
    quick.setattr(verbs, "train", seen.append)
    status = cli.main(
        [
            "train",
            "--gin_file=a.gin",
            "--gin.MODEL_DIR='runs/x = y'",
            "--gin_file",
            "b.gin",
            "--gin.train/utils.DatasetConfig.seed=3",
            "--gin_search_paths=one,two",
            "--tfds_data_dir=d",
        ]
    )
    assert status == 0
    (options,) = seen
    assert options.gin_files == ["a.gin", "b.gin"]
    assert options.gin_bindings == [
        "MODEL_DIR = 'runs/x = y'",
        "train/utils.DatasetConfig.seed = 3",
    ]
    assert options.gin_search_paths == ["one", "two"]
    assert options.data_dir == "d"


def test_two_commands_in_one_process_share_no_bindings(quick):
    seen = []
    quick.setattr(verbs, "train", seen.append)
    cli.main(["train", "--gin_file=a.gin", "--gin.X=1"])
    cli.main(["train", "--gin_file=a.gin"])
    assert [options.gin_bindings for options in seen] == [["X = 1"], []]


def test_bad_input_is_one_line_and_status_2(quick, capsys):
    def refuse(options):
        raise UserError("ratings.csv, line 3: no user\nin 'x'")

    quick.setattr(verbs, "stats", refuse)
    assert cli.main(["stats", "demo"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "recalign: error: ratings.csv, line 3: no user in 'x'\n"
    assert captured.out == ""


def test_an_interrupt_is_status_130(quick, capsys):
    def interrupt(options):
        raise KeyboardInterrupt

    quick.setattr(verbs, "stats", interrupt)
    assert cli.main(["stats", "demo"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_fault_of_ours_keeps_its_traceback(quick):
    def fail(options):
        raise ZeroDivisionError

    quick.setattr(verbs, "stats", fail)
    with pytest.raises(ZeroDivisionError):
        cli.main(["stats", "demo"])


def test_a_full_disk_is_told_in_one_line(quick, capsys):
    def fill(options):
        raise OSError(errno.ENOSPC, "No space left on device", "runs/x")

    quick.setattr(verbs, "stats", fill)
    assert cli.main(["stats", "demo"]) == 2
    assert capsys.readouterr().err == "recalign: error: runs/x: No space left on device\n"


def test_what_makes_many_steps_keeps_freed_memory(quick):
    kept = []
    quick.setattr(host_memory, "keep_freed_memory", lambda **given: kept.append(given))
    commands = (
        (verbs, "train", ["train", "--gin_file=x.gin"]),
        (verbs, "evaluate", ["eval", "--gin_file=x.gin"]),
        (asking, "recommend", ["recommend", "--model_dir=x", "--history=I1"]),
        (asking, "serve", ["serve", "--model_dir=x"]),
        (verbs, "stats", ["stats", "demo"]),
    )
    for module, verb, words in commands:
        quick.setattr(module, verb, lambda options: None)
        assert cli.main(words) == 0
    assert kept == [{"one_arena": False}] * 3 + [{"one_arena": True}]


def test_a_device_without_room_or_cudnn_is_told_in_one_line(quick, capsys):
    import jax
    import jax.numpy as jnp

    def without_room(options):
        jnp.ones(1 << 46, jnp.float32)

    def without_cudnn(options):
        rows = jnp.ones((1, 8, 1, 8), jnp.bfloat16)
        jax.nn.dot_product_attention(rows, rows, rows, implementation="cudnn")

    for work, expected in ((without_room, "MICROBATCHES"), (without_cudnn, "ATTENTION = 'cudnn'")):
        quick.setattr(verbs, "stats", work)
        assert cli.main(["stats", "demo"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("recalign: error: ") and expected in line


def test_other_errors_of_the_device_keep_their_traceback(quick):
    def fail(options):
        raise RuntimeError("something else")

    quick.setattr(verbs, "stats", fail)
    with pytest.raises(RuntimeError, match="something else"):
        cli.main(["stats", "demo"])


def test_other_errors_of_the_system_keep_their_traceback(quick):
    def fail(options):
        raise OSError(errno.EBADF, "Bad file descriptor")

    quick.setattr(verbs, "stats", fail)
    with pytest.raises(OSError, match="Bad file descriptor"):
        cli.main(["stats", "demo"])


def test_a_reader_that_leaves_is_no_error(tmp_path):
    """By the command as a process of its own, which says nothing else either."""
    (tmp_path / "run").mkdir()
    tasks = {f"retrieval_{number}": {"hr@10": 0.5} for number in range(20_000)}
    (tmp_path / "run" / "results.json").write_text(json.dumps({"tasks": tasks}))
    outcome = subprocess.run(
        f"{sys.executable} -m recalign report {tmp_path}/run | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
    )
    assert outcome.stdout.count("\n") == 1
    assert "Traceback" not in outcome.stderr
    assert "BrokenPipe" not in outcome.stderr
    assert "oneDNN" not in outcome.stderr  # TensorFlow greets nobody


def test_a_dataset_that_is_not_prepared_is_one_line(tmp_path, capfd):
    assert cli.main(["stats", "absent", "--data_dir", str(tmp_path)]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("recalign: error: dataset 'absent' is not prepared")
    assert err.count("\n") == 1


def test_a_process_ends_with_the_status_of_its_command():
    """Of `python -m recalign`, without the seconds that TensorFlow takes to load."""
    program = (
        "import runpy\n"
        "from recalign import errors, quiet, verbs\n"
        "def refuse(options): raise errors.UserError('no')\n"
        "quiet.load_tensorflow, verbs.stats = lambda: None, refuse\n"
        "runpy.run_module('recalign', run_name='__main__')"
    )
    command = [sys.executable, "-c", program, "stats", "demo"]
    outcome = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (outcome.returncode, outcome.stdout) == (2, "")
    assert outcome.stderr == "recalign: error: no\n"


def test_from_a_csv_to_statistics_and_samples(tmp_path, capfd):
    lines = ["customer,sku,stars"]
    for user in range(12):
        lines += [f"u{user},item{(user + step) % 8},{1 + (user + step) % 5}" for step in range(7)]
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    titles = ["sku,name", *(f"item{number},Thing {number}" for number in range(8))]
    (tmp_path / "things.csv").write_text("\n".join(titles) + "\n")
    log = ["--interactions", str(tmp_path / "log.csv"), "--items", str(tmp_path / "things.csv")]
    data = ["--data_dir", str(tmp_path / "data")]

    prepare = ["prepare", "shop", *log, *data, "--user_column"]
    assert cli.main([*prepare, "customer", "--k_core", "3"]) == 0
    out, err = capfd.readouterr()
    header, row = out.splitlines()
    assert header.split()[:4] == ["dataset", "users", "items", "interactions"]
    assert row.split()[:4] == ["shop", "12", "8", "84"]
    assert "guessed" in err

    assert cli.main(["stats", "shop", *data, "--json", "--history_length", "4", "--leaks"]) == 0
    statistics = json.loads(capfd.readouterr().out)
    assert (statistics["users"], statistics["items"]) == (12, 8)
    assert statistics["samples"]["retrieval"] == {"train": 12, "validation": 12, "test": 12}
    assert statistics["leaks"]

    assert cli.main([*prepare, "client"]) == 2
    err = capfd.readouterr().err
    assert "client" in err and err.count("\n") == 1


def test_what_prepare_is_told_reaches_the_preparation(quick):
    from recalign.data import from_files

    seen = {}

    def told(name, **settings):
        seen.update(settings, name=name)
        raise UserError("enough")

    quick.setattr(from_files, "prepare_from_files", told)
    command = ["prepare", "mine", "--interactions", "l", "--data_dir", "d"]
    assert cli.main(command) == 2
    assert seen == {"name": "mine", "interactions": "l", "data_dir": "d", "columns": {}}
    command += ["--review_texts", "--review_column", "words", "--beam_runner", "dataflow"]
    assert cli.main([*command, "--beam_options=--project=p --region=r"]) == 2
    assert seen["columns"] == {"review": "words"} and seen["review_texts"] is True
    assert (seen["beam_runner"], seen["beam_options"]) == ("dataflow", "--project=p --region=r")


@pytest.mark.parametrize("flag", ["--interactions", "--title_column", "--k_core"])
def test_the_demo_takes_no_log(flag, tmp_path, capsys):
    assert cli.main(["prepare", "demo", "--data_dir", str(tmp_path), flag, "3"]) == 2
    assert f"{flag} does not go with it" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_synthetic_log_of_ones_own_size(quick, tmp_path):
    command = ["prepare", "planted", "--format", "synthetic", "--data_dir", str(tmp_path)]
    sizes = ["--users", "300", "--themes", "4", "--products", "5"]
    ids = ["--item_ids", "semantic", "--gin.semantic_ids.levels=2"]
    assert cli.main([*command, *sizes, *ids]) == 0
    dataset = prepared.open_dataset("planted", tmp_path)
    assert (dataset.info["users"], dataset.info["items"]) == (300, 20)
    assert re.fullmatch(r"Ia\d+b\d+(c\d+)?", dataset.catalogue.ids[0])
    assert (tmp_path / "planted" / "1.0.0" / "law.npz").exists()


def test_sizes_are_for_a_synthetic_log(tmp_path, capsys):
    command = ["prepare", "mine", "--interactions", "log.csv", "--data_dir", str(tmp_path)]
    assert cli.main([*command, "--users", "3"]) == 2
    assert "--users is for a log of --format synthetic" in capsys.readouterr().err


def test_convert_passes_everything_on_and_says_what_was_written(monkeypatch, capsys):
    given = {}

    def convert(source, destination, **rest):
        given.update(source=source, destination=destination, **rest)
        return weights.Conversion("own", "t5x", destination, 30, 12_345, True)

    monkeypatch.setattr(weights, "convert", convert)
    assert cli.main(["convert", "runs/x", "out/checkpoint_30", "--to", "t5x"]) == 0
    assert given == {
        "source": "runs/x",
        "destination": "out/checkpoint_30",
        "source_format": None,
        "destination_format": "t5x",
        "weights_only": False,
        "first_step": None,
        "new_rows": None,
        "sizes": None,
    }
    assert capsys.readouterr().out == (
        "own -> t5x: 12,345 parameters and the optimizer of step 30 in out/checkpoint_30\n"
    )


def test_report_prints_tables_or_writes_a_page(tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    results = {
        "tasks": {"retrieval_x": {"hr@10": 0.25}},
        "evaluated": {"retrieval_x": {"kind": "retrieval", "evaluated_as": "retrieval"}},
    }
    (run / "results.json").write_text(json.dumps(results))
    assert cli.main(["report", str(run)]) == 0
    assert "0.2500" in capsys.readouterr().out
    assert cli.main(["report", str(run), "--out", str(run / "report.html")]) == 0
    assert "0.2500" in (run / "report.html").read_text()
    assert cli.main(["report", str(run), "--format", "txt", "--out", str(run / "r.txt")]) == 0
    assert "0.2500" in (run / "r.txt").read_text()
    assert cli.main(["report", str(run), "--format", "html"]) == 2
    assert cli.main(["report", str(tmp_path / "absent")]) == 2
