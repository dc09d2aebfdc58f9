"""One hostile line is one bad line: it never ends a preparation in a traceback."""

import gzip
import json

import pytest

from recalign.data.from_files import prepare_from_files
from recalign.errors import UserError

DIGITS = "9" * 400
DEEP = "[" * 900 + "1" + "]" * 900
HEX = "0x" + "f" * 5000
LINES = [{"user": f"u{n % 30}", "item": f"i{(n + n // 30) % 20}", "rating": 4, "time": 10**9 + n}
         for n in range(300)]  # fmt: skip


def with_raw(field: str, text: str) -> str:
    """A line of the log with this text as the value of a field."""
    return json.dumps({**LINES[0], field: "HERE"}).replace('"HERE"', text)


def prepared(tmp_path, log: list[str], items: list[str] | None = None, **given):
    (tmp_path / "log.jsonl").write_text("\n".join(log) + "\n")
    if items is not None:
        (tmp_path / "items.json").write_text("\n".join(items) + "\n")
        given["items"] = str(tmp_path / "items.json")
    dataset, _ = prepare_from_files(
        "d", data_dir=tmp_path / "data", interactions=str(tmp_path / "log.jsonl"), k_core=1,
        max_bad_fraction=0.02, **given,
    )  # fmt: skip
    return dataset


@pytest.mark.parametrize(
    "line",
    [
        *(with_raw(field, text)
          for field in ("user", "item", "rating", "time")
          for text in (DIGITS, DEEP, "1e999", "-1e999", "NaN", "{}", '"\\ud800"', '""')),
        with_raw("rating", "1" * 5000),
        "[" * 100_000,
        '{"user": ' * 5000,
        "\0\0\0",
        "\udcff".encode("utf-8", "surrogateescape").decode("latin-1"),
    ],
)  # fmt: skip
def test_a_hostile_line_of_a_log_is_a_bad_line(tmp_path, line):
    log = [json.dumps(it) for it in LINES]
    dataset = prepared(tmp_path, [*log, line])
    assert dataset.info["users"] == 30


@pytest.mark.parametrize(
    "value",
    [HEX, "'[{[1]}]'", DEEP, f"[{HEX}]", f"'[{HEX}]'", "1e999", "-0x1", "{1, (2,)}",
     "b'x'", "...", f"{{'name': {HEX}}}"],
)  # fmt: skip
@pytest.mark.parametrize("field", ["title", "brand", "price", "categories", "description"])
def test_a_hostile_record_of_an_item_is_a_bad_line_or_no_text(tmp_path, field, value):
    """Amazon 2014's metadata are Python literals."""
    reviews = [
        {"reviewerID": it["user"], "asin": it["item"], "overall": 4.0, "unixReviewTime": it["time"]}
        for it in LINES
    ]
    items = [f"{{'asin': 'i{n}', 'title': 'Thing {n}'}}" for n in range(1, 20)]
    items.append(f"{{'asin': 'i0', '{field}': {value}}}")
    (tmp_path / "reviews.json.gz").write_bytes(
        gzip.compress("\n".join(map(json.dumps, reviews)).encode())
    )
    (tmp_path / "meta.json").write_text("\n".join(items) + "\n")
    try:
        dataset, _ = prepare_from_files(
            "d", data_dir=tmp_path / "data", format="amazon_2014", k_core=1,
            interactions=str(tmp_path / "reviews.json.gz"), items=str(tmp_path / "meta.json"),
            max_bad_fraction=0.1,
        )  # fmt: skip
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert dataset.info["items"] == 20
