import types

from recalign.report.dataset_tables import ids_table, table_7, table_10


def test_what_a_dataset_holds(shop):
    table = table_7([("shop", shop.dataset)])
    # 3, 4, 5, 3, 4, 5, 3, 4 items of 8 users among 12 items: 31 of 96.
    assert [cell.text for cell in table.rows[0]][:5] == ["shop", "8", "12", "31", "67.71"]
    assert [cell.text for cell in table.rows[0]][5].startswith("3.88 ±")


def test_what_semantic_ids_are_made_of(shop):
    assert ids_table([("shop", shop.dataset)]) is None
    figures = {
        "embed": "minilm_embeddings", "codebook_size": 64, "collision_rate": 0.0312,
        "codebook_use": [1.0, 0.98], "prefix_purity": [0.61], "chance_purity": [0.4],
    }  # fmt: skip
    other = types.SimpleNamespace(info={"semantic_ids": figures})
    plain = {**figures, "prefix_purity": None, "chance_purity": None}
    uncategorised = types.SimpleNamespace(info={"semantic_ids": plain})
    table = ids_table([("a", shop.dataset), ("b", other), ("c", uncategorised)])
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["b", "minilm_embeddings", "2 of 64", "3.12%", "100%, 98%", "61%", "40%"],
        ["c", "minilm_embeddings", "2 of 64", "3.12%", "100%, 98%", "—", "—"],
    ]


def test_samples_of_every_task_and_split(shop):
    rows = {
        row[0].text: [cell.text for cell in row[1:]]
        for row in table_10("shop", shop.dataset, 3).rows
    }
    # Users 0, 3 and 6 have one item in the training part, and so none that comes next.
    assert rows["retrieval"] == ["5", "8", "8"]
    assert "p5_explanation" not in rows


class Toys:
    """Toys' own name and figures, the sequences of the shop."""

    def __init__(self, shop):
        self.name = "toys"
        self.info = shop.dataset.info
        self.has_ratings, self.has_reviews = True, False
        self.sequences = shop.dataset.sequences
        self.no_ratings = shop.dataset.no_ratings


def test_the_papers_figures_stand_beside(shop):
    toys = Toys(shop)
    assert [cell.text for cell in table_7([("toys", toys)]).rows[1]] == [
        "toys, paper", "19,412", "11,924", "167,597", "99.93", "8.63 ± 8.51",
    ]  # fmt: skip
    table = table_10("toys", toys, 20)
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    assert rows["retrieval"] == ["30,761", "5", "3,000", "8", "19,412", "8"]
    assert rows["mim"][::2] == ["DS", "0", "0"]
    assert rows["p5_direct"][::2] == ["—", "—", "—"]
    assert table.groups == (("train", 2), ("validation", 2), ("test", 2))
