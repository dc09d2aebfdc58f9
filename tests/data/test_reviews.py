"""Review texts: read only when asked for, kept beside their items through order and split."""

import json

import pytest
import tensorflow_datasets as tfds

from recalign.data.from_files import prepare_from_files
from recalign.errors import UserError
from tests.data.readers.reading import read_log


def amazon_reviews():
    """Three users review four items in an order that is not the file's; "i3" without words."""
    for user in "uvw":
        for item in (2, 0, 1, 3):
            review = {"reviewerID": user, "asin": f"i{item}", "unixReviewTime": item, "overall": 5}
            if item != 3:
                review |= {"reviewText": f"{user} on\n{item} &amp; it", "summary": f"{user}{item}"}
            yield json.dumps(review)


@pytest.fixture
def log(write):
    return write("reviews.json", "\n".join(amazon_reviews()))


@pytest.fixture
def prepared(log, tmp_path):
    dataset, _ = prepare_from_files(
        "mine",
        data_dir=tmp_path,
        format="amazon2014",
        interactions=log,
        k_core=0,
        review_texts=True,
    )
    return dataset


def test_reviews_stay_with_their_items(prepared):
    assert prepared.has_reviews
    for split, shown in (("train", 2), ("validation", 3), ("test", 4)):
        reviews = prepared.reviews(split)
        assert len(reviews.texts) == len(prepared.sequences(split).items)
        of_u = [f"u on {item} & it" for item in range(3)]
        assert reviews.texts.to_pylist()[:shown] == [*of_u, ""][:shown]
        assert reviews.summaries.to_pylist()[:shown] == ["u0", "u1", "u2", ""][:shown]
    assert prepared.reviews("test").texts.to_pylist()[4] == "v on 0 & it"


def test_tfds_has_them_as_features(prepared, tmp_path):
    loaded = tfds.load("mine:1.0.0", data_dir=str(tmp_path), split="validation")
    record = next(iter(tfds.as_numpy(loaded)))
    assert record["summaries"].tolist() == [b"u0", b"u1", b"u2"]
    assert record["review_texts"].tolist()[0] == b"u on 0 & it"


def test_they_are_left_out_unless_asked_for(log, tmp_path):
    dataset, _ = prepare_from_files(
        "mine", data_dir=tmp_path, format="amazon2014", interactions=log, k_core=0
    )
    assert not dataset.has_reviews
    with pytest.raises(UserError, match="no review texts: prepare it with --review_texts"):
        dataset.reviews("train")


def test_a_log_without_them_says_so(write):
    path = write("log.csv", "user,item\nu,a\n")
    with pytest.raises(UserError, match=r"log.csv: --review_texts: no column of review texts"):
        read_log("csv", path, review_texts=True)


def test_columns_of_a_table_are_named_or_guessed(write):
    path = write("log.csv", "user,item,review,words\nu,a,Good.,g\nu,b,,\n")
    log, _, _ = read_log("csv", path, columns={"summary": "words"}, review_texts=True)
    assert log.review_text.to_pylist() == ["Good.", ""]
    assert log.summary.to_pylist() == ["g", ""]


def test_a_review_whose_time_is_in_another_unit_leaves_with_its_line(write):
    lines = [f"u,{item},{time},text {item}" for item, time in enumerate([10, 1.4e12, 20])]
    path = write("log.csv", "user,item,time,review\n" + "\n".join(lines))
    log, _, _ = read_log("csv", path, review_texts=True, max_bad_fraction=0.5)
    assert log.review_text.to_pylist() == ["text 0", "text 2"]
