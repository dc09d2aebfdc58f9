import numpy as np
import pytest

from recalign.data.interactions import ItemTable
from recalign.data.item_tokens import pieces_of
from recalign.data.new_items import ItemFile, with_new_items
from recalign.data.prepare import prepare
from recalign.data.semantic_encoder import FILE_NAME, SemanticEncoder
from recalign.data.semantic_ids import item_texts
from recalign.errors import UserError

THEMES = ("pirate ship", "space rocket", "farm animal", "dragon egg")
RAW = [f"r{n}" for n in range(40)]
TITLES = [f"{THEMES[n // 10]} {THEMES[n // 10]} number{n}" for n in range(40)]


def prepared(folder, make_log, **settings):
    """Four themes of ten items, and users who had all of a theme."""
    blank = [""] * len(RAW)
    items = ItemTable(RAW, TITLES, blank, blank, blank, [[] for _ in RAW])
    rows = [(f"u{user}", RAW[(10 * (user % 4)) + n]) for user in range(8) for n in range(10)]
    chosen = {"name": "themed", "item_ids": "semantic", "k_core": 0, **settings}
    return prepare(make_log(rows), items, data_dir=folder, **chosen)


@pytest.fixture(scope="module")
def themed(make_log, tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("themed"), make_log)


@pytest.fixture(scope="module")
def with_tokens(make_log, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokens")
    return prepared(folder, make_log, item_tokens=True, vocabulary="own")


def codes_of(id_):
    """The levels' codes: "Ia3b1c0d2" -> ("a3", "b1", "c0")."""
    return tuple(piece.strip("_▁I") for piece in pieces_of("_".join(id_.replace("_", ""))) if piece)


def new_file(write, *lines):
    return ItemFile(write("new.csv", "\n".join(["item,title", *lines])))


@pytest.mark.parametrize("fixture", ["themed", "with_tokens"])
def test_the_catalogue_s_own_texts_get_their_codes(fixture, request):
    dataset = request.getfixturevalue(fixture)
    encoder = dataset.semantic_encoder
    codes = encoder.codes(encoder.vectors(item_texts(dataset.catalogue)))
    separator = "_" if dataset.item_tokens else ""
    for id_, row in zip(dataset.catalogue.ids, codes.tolist(), strict=True):
        expected = "I" + separator.join(
            f"{letter}{code}" for letter, code in zip("abc", row, strict=True)
        )
        assert id_ == expected or id_.startswith(f"{expected}{separator}d")


def test_new_items_stand_beside_what_they_are_like(themed, write):
    file = new_file(
        write, f"r3,{TITLES[3]}", "n1,A pirate ship", "n2,space rocket space", "n3,a ship"
    )
    longer, lines = with_new_items(themed, file)
    known = themed.catalogue
    assert longer.catalogue.ids[:40] == known.ids
    assert longer.catalogue.raw_ids[40:] == ("n1", "n2", "n3")
    assert len(set(longer.catalogue.ids)) == 43
    assert longer.catalogue.train_counts[40:].tolist() == [0, 0, 0]
    first = {
        theme: {
            known.ids[known.raw_ids.index(RAW[10 * number + n])].partition("b")[0]
            for n in range(10)
        }
        for number, theme in enumerate(THEMES)
    }
    one, two, three = longer.catalogue.ids[40:]
    assert one.partition("b")[0] in first["pirate ship"]
    assert two.partition("b")[0] in first["space rocket"]
    assert three.partition("b")[0] in first["pirate ship"]
    assert "3 new items, which the model was not trained on, beside 40; 1 of the file" in lines[-1]
    # The dataset itself is as it was, and its sequences are the longer one's.
    assert themed.catalogue is known
    np.testing.assert_array_equal(longer.sequences("test").items, themed.sequences("test").items)


def test_items_of_the_same_codes_are_numbered_on(themed, write):
    of_r7 = themed.catalogue.ids[themed.catalogue.raw_ids.index("r7")]
    file = new_file(write, f"n1,{TITLES[7]}", f"n2,{TITLES[7]}")
    longer, _ = with_new_items(themed, file)
    codes = of_r7.partition("d")[0]
    numbers = [
        id_.partition("d")[2] for id_ in longer.catalogue.ids if id_.partition("d")[0] == codes
    ]
    assert sorted(int(number or 0) for number in numbers) == list(range(len(numbers)))
    assert {id_.partition("d")[0] for id_ in longer.catalogue.ids[40:]} == {codes}


def test_what_has_no_known_word_gets_no_place(themed, write):
    longer, lines = with_new_items(themed, new_file(write, "n1,quux", "n2,dragon"))
    assert longer.catalogue.raw_ids[40:] == ("n2",)
    assert lines[-1].startswith("1 new items left out: no word of theirs is in the catalogue")
    same, lines = with_new_items(themed, new_file(write, f"r1,{TITLES[1]}"))
    assert same is themed
    assert lines[-1].endswith("no item of it is new")


def test_new_ids_are_of_tokens_that_there_are(with_tokens, write):
    """However many items are alike: those without a token that tells them apart are left out."""
    pieces = {piece for id_ in with_tokens.catalogue.ids for piece in pieces_of(id_)}
    lines = [f"n{n},dragon egg Ia1 number{n % 3}" for n in range(60)]
    longer, told = with_new_items(with_tokens, new_file(write, *lines))
    new = longer.catalogue.ids[40:]
    assert 0 < len(new) < 60
    assert pieces.issuperset(piece for id_ in new for piece in pieces_of(id_))
    assert len(set(longer.catalogue.ids)) == len(longer.catalogue)
    assert f"{60 - len(new)} new items left out" in told[-1]


def test_ids_that_say_nothing_of_items_are_refused(make_log, tmp_path, write, themed):
    file = new_file(write, "n1,dragon")
    with pytest.raises(UserError, match="has random IDs, which say nothing of an item: only those"):
        with_new_items(prepared(tmp_path, make_log, item_ids="random"), file)
    # Prepared before the encoder was kept.
    del (earlier := dict(themed.info["files"]))[FILE_NAME]
    old = type(themed)(themed.directory, {**themed.info, "files": earlier})
    with pytest.raises(UserError, match=f"has no {FILE_NAME}.*prepare it again from the same log"):
        with_new_items(old, file)


def test_the_encoder_s_file_is_read_back_and_checked(themed, make_log, tmp_path):
    content = (themed.directory / FILE_NAME).read_bytes()
    encoder = SemanticEncoder.of_content(content, "tfidf_embeddings", "f")
    assert encoder.content() == content
    for damaged in (content[:100], b"", b"x" * 100):
        with pytest.raises(UserError, match="f: damaged .*prepare the dataset again"):
            SemanticEncoder.of_content(damaged, "tfidf_embeddings", "f")
    # It follows from the rest, so that the fingerprint, which runs compare, is as it was without.
    again = prepared(tmp_path, make_log)
    assert again.fingerprint == themed.fingerprint
    (again.directory / FILE_NAME).write_bytes(content[:-1])
    with pytest.raises(UserError, match=f"{FILE_NAME} is not what was written"):
        _ = type(again)(again.directory, again.info).semantic_encoder
