"""Logs as people have them: each a kind of input from a bug report of this field, made anew."""

import json

import numpy as np
import pytest

from recalign.data.findings import rating_summary
from recalign.data.from_files import prepare_from_files
from recalign.errors import UserError
from tests.data.readers.reading import read_log


def pairs(log):
    """(user, item) with raw ids, in the order of the file."""
    return [(log.user_ids[u], log.item_ids[i]) for u, i in zip(log.user, log.item, strict=True)]


# Columns ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "User-ID;ISBN;Book-Rating",
        "cust_no,prod_id,Star Rating",
        "household_key,sku,score",
        "SessionId,track_id,my_stars",
        "user_id,app_id,is_recommended",
        "user_id,item_id",
    ],
)
def test_columns_are_found_by_the_words_of_their_names(header, write):
    separator = ";" if ";" in header else ","
    columns = dict(zip(["user", "item", "rating"], header.split(separator), strict=False))
    header += f"{separator}avg_rating"
    line = separator.join(["u", "a", "1", "3"][: header.count(separator) + 1])
    other = separator.join(["u", "b", "4", "3"][: header.count(separator) + 1])
    _, _, report = read_log("csv", write("log.csv", f"{header}\n{line}\n{other}\n"))
    assert report.interactions.columns == columns


@pytest.mark.parametrize(
    "name",
    ["prod_name", "Book-Title", "productDisplayName", "app_name", "title_en", "primaryTitle"],
)
def test_titles_are_found_where_it_is_plain(name, write):
    log = write("log.csv", "user,product_id\nu,1\n")
    items = write("items.csv", f"product_id,brand_name,{name},type_name\n1,B,Red shoe,Shoe\n")
    _, table, report = read_log("csv", log, items)
    assert table.titles == ["Red shoe"] and table.brands == ["B"]
    assert report.items.columns["title"] == name


def test_the_name_of_the_items_own_kind_wins(write):
    log = write("log.csv", "user,track_id\nu,1\n")
    items = write("i.csv", "track_id,track_name,artist_name,album_name\n1,Song,Singer,Record\n")
    assert read_log("csv", log, items)[1].titles == ["Song"]


def test_the_one_other_column_of_two_is_the_title(write):
    log = write("log.csv", "user,item\nu,1\n")
    assert read_log("csv", log, write("i.csv", "item,Bezeichnung\n1,Schuh\n"))[1].titles == [
        "Schuh"
    ]


def test_what_nobody_need_say_is_not_asked_about(write):
    """H&M's catalogue has two columns of kinds, and dunnhumby's two of makers."""
    log = write("log.csv", "user,article_id\nu,1\n")
    header = "article_id,prod_name,product_type_name,product_group_name,store,brand"
    items = write("i.csv", f"{header}\n1,Top,Vest,Upper body,Main,Own\n")
    _, table, report = read_log("csv", log, items)
    assert (table.categories, table.brands) == ([["Upper body"]], ["Own"])
    assert "not used: product_type_name, store" in report.items.notes


def test_titles_that_are_not_plain_are_asked_for(write):
    log = write("log.csv", "user,item\nu,1\n")
    items = write("i.csv", "item,colour,size\n1,red,40\n")
    with pytest.raises(UserError, match="no title column among 'item', 'colour', 'size': name it"):
        read_log("csv", log, items)
    assert read_log("csv", log, items, {"title": ""})[1].titles == [""]
    assert read_log("csv", log, items, {"title": "colour"})[1].titles == ["red"]


def test_the_items_ids_are_looked_for_under_the_logs_name_first(write):
    log = write("log.csv", "user,sku\nu,s1\n")
    items = write("i.csv", "product_id,sku,title\n1,s1,Shoe\n")
    assert read_log("csv", log, items)[1].titles == ["Shoe"]


# Lists and other texts ----------------------------------------------------------------------------


def test_lists_that_were_written_out_are_lists_in_every_column(write):
    cells = [
        "1",
        "\"['Great pot']\"",
        "\"['Acme', 'Works']\"",
        "\"['$12.99']\"",
        "\"[{'id': 3, 'name': 'Kitchen'}, {'id': 5, 'name': 'Pots'}]\"",
        "\"['Holds 1 l', 'Red']\"",
    ]
    header = "item,title,brand,price,categories,description"
    items = write("i.csv", f"{header}\n{','.join(cells)}\n2,[],[],[],[],[]\n")
    _, table, _ = read_log("csv", write("log.csv", "user,item\nu,1\nu,2\n"), items)
    assert table.titles == ["Great pot", ""]
    assert table.brands == ["Acme Works", ""]
    assert table.prices == ["$12.99", ""]
    assert table.categories == [["Kitchen", "Pots"], []]
    assert table.descriptions == ["Holds 1 l Red", ""]


@pytest.mark.parametrize(
    ("cell", "categories"),
    [
        ("['Action', 'War']", ["Action", "War"]),
        ('["Action", "War"]', ["Action", "War"]),
        ('["Action", null]', ["Action"]),
        ("['Action' 'War']", ["Action", "War"]),
        ("('Action', 'War')", ["Action", "War"]),
        ("{'War', 'Action'}", ["Action", "War"]),
        ("Home > Kitchen > Pots", ["Home", "Kitchen", "Pots"]),
        ("Home >> Kitchen", ["Home", "Kitchen"]),
        ("Action|War", ["Action", "War"]),
        ("Action;War", ["Action", "War"]),
        ("Toys &amp; Games", ["Toys & Games"]),
        ("Toys, Games", ["Toys, Games"]),
        ("[]", []),
        ("nan", []),
        ("['Action', nan]", ["Action"]),
        ("array(['Action', 'War'], dtype=object)", ["Action", "War"]),
        ('{Action,"War, Navy"}', ["Action", "War, Navy"]),
        ("[Action, War]", ["Action", "War"]),
        ("'Toys, Games', 'Dolls'", ["Toys, Games", "Dolls"]),
        ("{}", []),
    ],
)
def test_categories(cell, categories, write):
    items = write("i.jsonl", json.dumps({"item": "1", "title": "T", "categories": cell}))
    _, table, _ = read_log("csv", write("log.csv", "user,item\nu,1\n"), items)
    assert table.categories == [categories]


def test_bytes_that_were_written_out_are_text(write):
    items = write("i.csv", 'item,title,brand\n1,b\'Caf\\xc3\\xa9\',"b""King\'s"""\n')
    _, table, _ = read_log("csv", write("log.csv", "user,item\nu,1\n"), items)
    assert (table.titles, table.brands) == (["Café"], ["King's"])


@pytest.mark.parametrize("title", ["[REC]", "[1408]", "(500) Days of Summer", "{Proof}"])
def test_a_title_in_brackets_is_a_title(title, write):
    items = write("i.jsonl", json.dumps({"item": "1", "title": title}))
    assert read_log("csv", write("log.csv", "user,item\nu,1\n"), items)[1].titles == [title]


# Ratings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "stars"),
    [
        (["True", "False"], [1, 0]),
        (["yes", "no"], [1, 0]),
        (["4,5", "3"], [4.5, 3]),
        (["4/5", "3/5"], [4, 3]),
        (["4 stars", "1 star"], [4, 1]),
        (["80%", "35 %"], [80, 35]),
        (["5.0 out of 5 stars", "3 out of 5"], [5, 3]),
        (["★★★★☆", "★"], [4, 1]),
        (["up", "down"], [1, 0]),
    ],
)
def test_ratings_in_many_forms(written, stars, write):
    lines = "".join(f'u;{n};"{text}"\n' for n, text in enumerate(written))
    log, _, _ = read_log("csv", write("log.csv", f"user;item;rating\n{lines}"))
    assert log.rating.tolist() == stars


def prepared(write, tmp_path, ratings, **settings):
    """A dataset of four users with four items each, these their ratings in turn, and its notes."""
    lines = [f"u{n // 4},i{n % 4},{ratings[n % len(ratings)]},{10**9 + n}" for n in range(16)]
    path = write("log.csv", "\n".join(["user,item,rating,time", *lines]))
    dataset, _ = prepare_from_files(
        "mine", data_dir=tmp_path / "data", interactions=path, k_core=0, **settings
    )
    return dataset, dataset.info["notes"]


def test_zeros_that_may_stand_for_none_are_told_and_can_be_left_out(write, tmp_path):
    dataset, notes = prepared(write, tmp_path, [0, 8, 0, 10])
    assert "ratings from 0 to 10: 50.0 % are likes (above 3; --like_threshold)" in notes
    assert any("50.0 % of the ratings are 0" in n and "--no_rating 0" in n for n in notes)
    assert any("of a scale from 1 to 5, and these ratings go to 10" in note for note in notes)
    both = {"no_rating": ["0"], "like_threshold": 9}
    dataset, notes = prepared(write, tmp_path, [0, 8, 7, 10], **both)
    assert "ratings from 7 to 10: 33.3 % are likes (above 9; --like_threshold)" in notes
    assert any("4 lines without a rating left out (25.0 %" in note for note in notes)
    assert dataset.info["interactions"] == 12
    assert dataset.like_threshold == 9


@pytest.mark.parametrize(
    ("ratings", "said"),
    [
        ([0, 9.5, 0, 4.5], "warning: 50.0 % of the ratings are 0 (8), which makes dislikes"),
        ([0, 0.5, 0.75, 1], "warning: 25.0 % of the ratings are 0 (4), which makes dislikes"),
        ([0, 4, 3, 5], "warning: 25.0 % of the ratings are 0 (4), which makes dislikes"),
    ],
)
def test_zeros_are_told_on_every_scale(ratings, said, write, tmp_path):
    _, notes = prepared(write, tmp_path, ratings)
    assert any(note.startswith(said) and "--no_rating 0" in note for note in notes)


def test_few_zeros_are_told_without_a_warning():
    ratings = np.float32([0, *[4.5] * 199])
    notes = rating_summary(ratings, None).notes()
    assert notes[0] == "ratings from 0 to 4.5: 99.5 % are likes (above 3; --like_threshold)"
    assert notes[1].startswith("0.5 % of the ratings are 0 (1), which makes dislikes of them")


@pytest.mark.parametrize("absent", ["-1", "99", "NA", ""])
def test_any_value_may_stand_for_none(absent, write, tmp_path):
    dataset, _ = prepared(write, tmp_path, [absent, 4, 2, 5], no_rating=[absent])
    assert dataset.info["ratings"]["number"] == 12
    assert (dataset.info["ratings"]["minimum"], dataset.info["ratings"]["maximum"]) == (2, 5)


def test_a_scale_below_zero_needs_its_threshold(write, tmp_path):
    with pytest.raises(UserError, match=r"no rating \(0 or more is needed; .* --like_threshold"):
        prepared(write, tmp_path, [-7.5, 3, 9, 0.5])
    _, notes = prepared(write, tmp_path, [-7.5, 3, 9, 0.5], like_threshold=0)
    assert "ratings from -7.5 to 9: 75.0 % are likes (above 0; --like_threshold)" in notes


def test_yes_and_no_have_a_threshold_between_them(write, tmp_path):
    dataset, notes = prepared(write, tmp_path, ["True", "False", "True", "True"])
    assert "ratings from 0 to 1: 75.0 % are likes (above 0.5; --like_threshold)" in notes
    assert dataset.no_ratings() is None


def test_one_rating_for_all_is_none(write, tmp_path):
    dataset, notes = prepared(write, tmp_path, [1])
    assert "warning: every rating is 1: there are no rating tasks" in notes
    assert not dataset.has_ratings and dataset.sequences("train").ratings is None
    assert dataset.no_ratings() == "every rating of the log is 1"


def test_one_class_at_the_threshold_has_no_rating_task(write, tmp_path):
    dataset, notes = prepared(write, tmp_path, [4, 5])
    assert any("warning: every one of the ratings is above 3" in note for note in notes)
    assert "all are alike (prepare --like_threshold)" in dataset.no_ratings()
    assert dataset.no_ratings(4.5) is None


# Events, repeats, ties ----------------------------------------------------------------------------

EVENTS = "visitorid,event,itemid\n" + "".join(
    f"u,{event},{item}\n"
    for item, event in enumerate(["view", "view", "addtocart", "transaction", "view"])
)


def test_kinds_of_events_are_told(write):
    log, _, report = read_log("csv", write("events.csv", EVENTS))
    assert len(log) == 5
    assert report.interactions.notes[0] == (
        "warning: column 'event' holds 3 kinds (view 3, addtocart 1, transaction 1), all of which"
        " count: choose by --event_column event --events KIND,…"
    )


def test_events_are_chosen(write):
    path = write("events.csv", EVENTS)
    log, _, report = read_log("csv", path, events=["transaction", "addtocart"])
    assert [item for _, item in pairs(log)] == ["2", "3"]
    assert report.interactions.notes[0] == (
        "events that count: addtocart, transaction (of view 3, addtocart 1, transaction 1)"
    )
    with pytest.raises(UserError, match="no event is 'buy' .*: there are view 3, addtocart 1"):
        read_log("csv", path, events=["buy"])


@pytest.mark.parametrize(
    ("settings", "kinds"),
    [
        ({"events": ["view"]}, "view"),
        ({"events": ["view", "addtocart", "transaction"]}, "addtocart, view"),
        ({}, "addtocart, view"),
        ({"events": ["transaction"]}, None),
        ({"events": ["view"], "verb": ("viewed", "view")}, None),
    ],
)
def test_a_verb_is_asked_for_where_events_are_no_purchases(settings, kinds, write, prepare_files):
    lines = [f"u{u},{e},i{i}" for u in (1, 2) for i in range(3) for e in ("view", "transaction")]
    path = write("log.csv", "\n".join(["user,event,item", "u1,addtocart,i0", *lines]))
    dataset, said = prepare_files(path, **settings)
    told = [note for note in dataset.info["notes"] if "has purchased" in note]
    assert told == [note for note in said if "has purchased" in note]
    assert told == [
        f"{path}: prompts say 'has purchased' of {kinds}: what users did instead is said by"
        " --verb, as in --verb 'viewed,view'"
    ] * (kinds is not None)


@pytest.mark.parametrize(
    "kind",
    [
        "order_cancelled",
        "purchase refunded",
        "PaymentFailed",
        "begin_checkout",
        "display",
        "order_pending",
        "order_not_completed",
    ],
)
def test_what_undoes_a_purchase_is_none(write, kind):
    path = write("log.csv", f"user,item,event\nu,a,{kind}\nu,b,order\nu,c,re-ordered\n")
    _, _, report = read_log("csv", path)
    assert f"prompts say 'has purchased' of {kind}: what" in report.interactions.notes[1]


def test_kinds_in_numbers_and_a_column_of_any_name(write):
    path = write("log.csv", "user,item,what\nu,a,1\nu,b,4\n")
    log, _, _ = read_log("csv", path, columns={"event": "what"}, events=["4"])
    assert pairs(log) == [("u", "b")]
    with pytest.raises(UserError, match="--events without a column: name it with --event_column"):
        read_log("csv", path, events=["4"])


def test_repeats_are_kept_where_they_are_wanted(write, tmp_path):
    # At 4 the same song twice in one moment: that is one.
    plays = [("a", 1), ("b", 2), ("a", 3), ("a", 4), ("a", 4), ("c", 5)]
    path = write("log.csv", "user,item,time\n" + "".join(f"u,{i},{t}\n" for i, t in plays))
    settings = {"data_dir": tmp_path / "data", "interactions": path, "k_core": 0}
    dataset, notes = prepare_from_files("mine", **settings)
    assert dataset.info["interactions"] == 3
    assert any(
        "3 repeats" in n and "(50.0 % of the log)" in n and "--keep_repeats" in n for n in notes
    )
    dataset, notes = prepare_from_files("mine", keep_repeats=True, **settings)
    raw = dataset.catalogue.raw_ids
    assert [raw[i] for i in dataset.sequences("test").items] == ["a", "b", "a", "a", "c"]
    assert "2 repeats of an item by the same user kept (40.0 % of the log)" in notes
    # Three pairs of one user and three items, though five interactions.
    assert (dataset.info["interactions"], dataset.info["sparsity_percent"]) == (5, 0)


def test_the_k_core_counts_a_devoted_user_once(write, prepare_files):
    lines = [(f"u{u}", item, 10 * u + n) for u in range(3) for n, item in enumerate("abc")]
    lines += [("u0", "d", 100 + n) for n in range(5)]
    path = write("log.csv", "user,item,time\n" + "".join(f"{u},{i},{t}\n" for u, i, t in lines))
    dataset, _ = prepare_files(path, k_core=3, keep_repeats=True)
    assert sorted(dataset.catalogue.raw_ids) == ["a", "b", "c"]


def test_ties_in_a_file_that_is_sorted_by_item_are_told(write, prepare_files):
    lines = sorted((f"i{item}", f"u{user}") for user in range(30) for item in range(4))
    path = write(
        "log.csv",
        "item,user,date\n" + "".join(f"{i},{u},2014-03-0{1 + (i != 'i0')}\n" for i, u in lines),
    )
    dataset, notes = prepare_files(path)
    (warning,) = [note for note in notes if "one timestamp" in note]
    assert warning.startswith("warning: the last two items of 100.0 % of the users")
    assert "which sorts them by item, chooses the test item" in warning
    assert dataset.info["ties_sorted_by_item"] is True
