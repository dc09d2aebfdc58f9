import io
import json

import pytest

from recalign import cli
from recalign.errors import UserError
from recalign.trainer import serving
from recalign.trainer.recommend import Recommendation, Recommender
from recalign.trainer.serving import Latencies, Request, parse, serve


@pytest.fixture(scope="module")
def recommender(trained):
    return Recommender(trained[0].model_dir)


def answers_to(recommender, lines, **options):
    out, said = io.StringIO(), []
    serve(recommender, lines, out, said.append, **options)
    return [json_of(line) for line in out.getvalue().splitlines()], said


def json_of(line):
    """A line's value, read as strictly as others read JSON: Python's own NaN is none."""

    def refuse(constant):
        raise AssertionError(f"{constant} in {line}")

    return json.loads(line, parse_constant=refuse)


def test_a_line_is_answered_as_the_recommender_answers(recommender):
    lines = [
        '{"history": ["I3", "I17"], "k": 2, "user": {"name": "Ada"}}\n',
        "\n",
        '{"history": ["I3"], "only": ["I5", "I9", "I3"]}\n',
    ]
    (first, second), said = answers_to(recommender, lines, k=3)
    expected = [it._asdict() for it in recommender.recommend(["I3", "I17"], 2)]
    assert first.pop("latency_ms") > 0
    assert first == {"items": expected, "user": {"name": "Ada"}}
    assert {item["id"] for item in second["items"]} == {"I5", "I9"}
    assert "user" not in second
    assert said[0].startswith("ready: ")
    assert said[1].startswith("2 answers, 0 errors | first ")


def test_options_hold_where_a_line_does_not_say_otherwise(recommender):
    lines = ['{"history": ["I3"]}', '{"history": ["I3"], "k": 1, "only": ["I8"]}']
    (first, second), _ = answers_to(recommender, lines, k=2, only=["I5", "I9", "I12"])
    assert len(first["items"]) == 2
    assert {item["id"] for item in first["items"]} <= {"I5", "I9", "I12"}
    assert [item["id"] for item in second["items"]] == ["I8"]


def test_a_bad_line_is_answered_by_what_is_wrong_with_it(recommender):
    lines = ["{", '{"history": ["I3"]}', '{"history": ["I99999"]}', '{"history": []}', "[" * 10**5]
    answers, said = answers_to(recommender, lines)
    assert [answer.get("line") for answer in answers] == [1, None, 3, 4, 5]
    assert "not JSON" in answers[0]["error"]
    assert "'I99999'" in answers[2]["error"]
    assert said[1].startswith("1 answer, 4 errors | ")


def test_what_is_no_number_of_json_is_an_error_of_its_line(recommender):
    lines = [
        '{"history": ["I3"], "user": %s}',
        '{"history": ["I3"], "user": {"ages": [1.5, %s]}}',
        '{"history": ["I3"], "k": %s}',
        '{"history": ["I3"], "only": ["I5", %s]}',
        '{"history": ["I3"], "untrained": %s}',
        '{"history": ["I3", %s]}',
    ]
    numbers = ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"]
    asked = [line % number for line in lines for number in numbers]
    answers, said = answers_to(recommender, [*asked, '{"history": ["I3"], "k": 1}'])
    assert [answer.get("line") for answer in answers] == [*range(1, 31), None]
    told = [f"not JSON: '{number}' is no finite number" for number in numbers]
    assert [answer["error"] for answer in answers[:-1]] == told * len(lines)
    assert said[-1].startswith("1 answer, 30 errors")


def test_a_score_that_json_has_no_word_for_is_an_error_of_its_line(recommender, monkeypatch):
    item = Recommendation("I1", "raw1", "title", float("nan"), float("-inf"))
    monkeypatch.setattr(recommender, "recommend", lambda *asked, **more: [item])
    (answer,), said = answers_to(recommender, ['{"history": ["I3"], "user": 7}'])
    assert answer["error"].startswith("the request failed: ValueError") and answer["line"] == 1
    assert "Traceback" in said[1] and said[-1] == "0 answers, 1 error"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('["I1"]', "history"),
        ('{"k": 3}', "history"),
        ('{"history": "I1"}', "list of IDs"),
        ('{"history": ["I1", null]}', "list of IDs"),
        ('{"history": ["I1"], "k": 0}', "at least 1"),
        ('{"history": ["I1"], "k": true}', "at least 1"),
        ('{"history": ["I1"], "onyl": ["I2"]}', "'onyl'"),
        ('{"history": ["I1"], "only": {"I2": 1}}', "list of IDs"),
        ('{"history": ["I1"], "' + "x" * 3_000_000 + '": 1}', "unknown field 'xxx.*x…; there are"),
        ('{"history": ["I1"], "k": "' + "x" * 3_000_000 + '"}', "not 'xxx.*x…"),
        ('{"history": ["I1"], "untrained": "' + "x" * 3_000_000 + '"}', "not 'xxx.*x…"),
    ],
    ids=range(11),
)
def test_what_is_no_request(line, told):
    with pytest.raises(UserError, match=told) as error:
        parse(line, 10, None)
    assert len(str(error.value)) < 200


def test_what_a_request_may_ask_for_is_bounded(trained):
    few = Recommender(trained[0].model_dir, most_items=3)
    lines = [
        '{"history": ["I3"], "k": 4}',
        '{"history": ["I3"], "k": 3000000, "only": ["I5", "I9"]}',
        json.dumps({"history": ["I3"] * 10_001}),
    ]
    (four, all_that_there_are, long), _ = answers_to(few, lines, k=1)
    assert four["error"].startswith("k = 4: one request may ask for 3 items")
    assert len(all_that_there_are["items"]) == 2
    assert long["error"] == "a history of 10,001 items: at most 10,000"


def test_a_line_without_end_is_an_error_and_the_next_is_answered(recommender, monkeypatch):
    monkeypatch.setattr(serving, "MOST_CHARACTERS", 100)
    stream = io.StringIO('{"history": ["' + "x" * 350 + '"]}\n{"history": ["I3"], "k": 1}\n')
    read = list(serving.lines_of(stream))
    assert [len(line) for line in read] == [101, 28]
    (refused, answered), _ = answers_to(recommender, read)
    assert refused == {"error": "a line of more than 100 characters", "line": 1}
    assert len(answered["items"]) == 1


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: 9 GiB\nat")])
def test_whatever_fails_is_the_answer_of_its_request(recommender, monkeypatch, error):
    recommend = recommender.recommend

    def failing(history, *rest, **others):
        if history == ["I4"]:
            raise error
        return recommend(history, *rest, **others)

    monkeypatch.setattr(recommender, "recommend", failing)
    lines = ['{"history": ["I4"]}', '{"history": ["I3"], "k": 1}']
    (failed, answered), said = answers_to(recommender, lines)
    assert failed["error"].startswith(f"the request failed: {type(error).__name__}")
    assert "\n" not in failed["error"] and failed["line"] == 1
    assert len(answered["items"]) == 1
    assert "Traceback" in said[1] and said[-1].startswith("1 answer, 1 error")


def test_numbers_are_raw_ids():
    request = parse('{"history": [318, "527"], "only": [1]}', 10, None)
    assert request == Request(["318", "527"], 10, ["1"], None, [])


@pytest.mark.parametrize(
    ("most", "figures"),
    [(100, "p50 50.5 ms, p95 95.0 ms"), (10, "p50 94.5 ms, p95 98.5 ms of the last 10")],
)
def test_the_summary_holds_no_more_than_the_last_answers(most, figures):
    latencies = Latencies(most)
    assert latencies.summary(2) == "0 answers, 2 errors"
    for ms in [100.0, *range(1, 100)]:
        latencies.add(ms)
    assert latencies.summary(0) == f"100 answers, 0 errors | first 100.0 ms, {figures}"
    assert len(latencies._last_ms) == most


def test_by_the_command_line(trained, monkeypatch, capsys, tmp_path):
    """Standard input to standard output; what is said about it is on standard error."""
    (tmp_path / "stock").write_text("I5\nI9\n")
    requests = (
        b'{"history": ["I3"], "user": "\\ud800"}\n\xff\n{"history": ["I3", "I5"], "user": 2}\n'
    )
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(requests), "utf-8"))
    run = trained[0].model_dir
    words = [
        "recommend",
        "--model_dir",
        run,
        "--jsonl",
        "--k",
        "4",
        "--only",
        str(tmp_path / "stock"),
    ]
    assert cli.main(words) == 0
    out, err = capsys.readouterr()
    first, second, third = map(json_of, out.splitlines())
    assert {item["id"] for item in first["items"]} == {"I5", "I9"}
    assert first["user"] == "\ud800"
    assert second["line"] == 2
    assert ([item["id"] for item in third["items"]], third["user"]) == (["I9"], 2)
    assert "2 answers, 1 error" in err
