import io
import re

import gin
import numpy as np
import pyarrow as pa
import pytest
import sentencepiece
import seqio

import tasks
from recalign.data.interactions import ItemTable
from recalign.data.item_tokens import ItemTokens, add_item_tokens, stands_for
from recalign.data.prepare import prepare
from recalign.errors import UserError
from tasks.blocks import TASKS
from tests.corpus import log_of, make_corpus, random_sequences, vocabulary_file


def prepared(tmp_path, titles=(), **settings):
    log = log_of(random_sequences(0, 40, 30, 12))
    named = {raw: f"red kite {raw[3:]}" for raw in log.item_ids} | dict(titles)
    items = ItemTable.of_titles(log.item_ids, [named[raw] for raw in log.item_ids])
    settings = {"sentencepiece_model": vocabulary_file(), "k_core": 1, **settings}
    settings = {"item_tokens": True, **settings}
    return prepare(log, items, name="mine", data_dir=tmp_path, **settings)


def tokenizer_of(dataset):
    return sentencepiece.SentencePieceProcessor(
        model_proto=dataset.sentencepiece_model.read_bytes()
    )


def test_an_id_is_one_token_after_all_older_ones_wherever_it_stands(tmp_path):
    old = sentencepiece.SentencePieceProcessor(model_file=vocabulary_file())
    dataset = prepared(tmp_path)
    new, tokens = tokenizer_of(dataset), dataset.item_tokens
    # T5's hundred sentinels come first, numbered as SeqIO would number them without items.
    assert tokens == ItemTokens(first=old.vocab_size() + 100, count=len(dataset.catalogue))
    seqio_s = seqio.SentencePieceVocabulary(vocabulary_file(), extra_ids=100)
    assert new.PieceToId("▁<extra_id_7>") == seqio_s.encode("<extra_id_7>")[-1]
    assert [new.IdToPiece(n) for n in range(old.vocab_size())] == [
        old.IdToPiece(n) for n in range(old.vocab_size())
    ]
    for index, id_ in enumerate(dataset.catalogue.ids):
        own = tokens.first + index
        assert new.encode(id_) == [own]
        assert new.encode(f"Item ID: {id_}, Title: red; {id_}.") == [
            *new.encode("Item ID:"), own, *old.encode("I,")[-1:], *old.encode("Title: red;"), own,
            *old.encode("I.")[-1:],
        ]  # fmt: skip
        assert new.decode([own]) == id_


def test_a_semantic_id_is_a_token_a_code(tmp_path):
    dataset = prepared(tmp_path, item_ids="semantic")
    new, tokens = tokenizer_of(dataset), dataset.item_tokens
    codes = {code for id_ in dataset.catalogue.ids for code in id_.split("_")}
    assert tokens.count == len(codes)
    for id_ in dataset.catalogue.ids:
        assert [new.IdToPiece(n).strip("▁_") for n in new.encode(id_)] == id_.split("_")
        assert min(new.encode(id_)) >= tokens.first
        assert new.decode(new.encode(id_)) == id_


def test_no_text_reads_as_an_id(tmp_path):
    titles = {"raw0": "Core I5 red", "raw1": "I3D kite", "raw2": "BMW I30", "raw3": "I 5 toy"}
    dataset = prepared(tmp_path, titles)
    shown = dict(zip(dataset.catalogue.raw_ids, dataset.catalogue.titles, strict=True))
    assert [shown[f"raw{n}"] for n in range(4)] == [
        "Core i5 red", "i3D".lower() + " kite", "BMW i30", "I 5 toy",
    ]  # fmt: skip
    new = tokenizer_of(dataset)
    for title in dataset.catalogue.titles:
        assert max(new.encode(title)) < dataset.item_tokens.first
    assert "3 texts held a word that reads as an item's id" in " ".join(dataset.info["notes"])


def test_categories_and_codes_inside_words_are_set_apart_too(tmp_path):
    dataset = make_corpus("plain", tmp_path, content=True)
    ids = [f"Ia{n}_b0" for n in range(len(dataset.catalogue))]
    catalogue = dataset.catalogue.with_ids(ids)
    column = catalogue.table.schema.get_field_index("categories")
    names = pa.array([["Toys", "x_b0 Ia7"]] * len(ids))
    catalogue = type(catalogue).of_table(catalogue.table.set_column(column, "categories", names))
    model = dataset.sentencepiece_model.read_bytes()
    _, cleaned, tokens, notes = add_item_tokens(model, catalogue)
    assert cleaned.table["categories"].to_pylist() == [["Toys", "x-b0 ia7"]] * len(ids)
    assert tokens.count == len(ids) + 1
    assert len(notes) == 1


def test_rows_are_a_multiple_of_128():
    assert ItemTokens(first=500, count=12).vocab_size == 512
    assert ItemTokens(first=500, count=13).gin_line == "VOCAB_SIZE = 640"


def test_what_a_new_token_stands_for(tmp_path):
    dataset = prepared(tmp_path, {"raw0": "blue castle"})
    new = tokenizer_of(dataset)
    found = stands_for(dataset.catalogue, new, dataset.item_tokens)
    assert len(found) == dataset.item_tokens.count
    for index, title in enumerate(dataset.catalogue.titles):
        np.testing.assert_array_equal(found[index], new.encode(title))


def test_a_code_stands_for_all_items_that_have_it(tmp_path):
    dataset = prepared(tmp_path, item_ids="semantic")
    new, tokens = tokenizer_of(dataset), dataset.item_tokens
    found = stands_for(dataset.catalogue, new, tokens)
    first_codes = [new.encode(id_)[0] for id_ in dataset.catalogue.ids]
    for code in set(first_codes):
        expected = [
            token
            for own, title in zip(first_codes, dataset.catalogue.titles, strict=True)
            if own == code
            for token in new.encode(title)
        ]
        np.testing.assert_array_equal(found[code - tokens.first], expected)


def test_tasks_read_and_write_item_tokens(tmp_path):
    dataset = prepared(tmp_path)
    seqio.set_tfds_data_dir_override(str(tmp_path))
    tasks.ensure_registered("retrieval_mine", str(tmp_path))
    task = seqio.get_mixture_or_task("retrieval_mine")
    assert task.output_features["targets"].vocabulary.vocab_size == (
        dataset.item_tokens.first + dataset.item_tokens.count
    )
    lengths = {"inputs": 256, "targets": 8}
    for example in task.get_dataset(lengths, "train", seed=0).take(3).as_numpy_iterator():
        assert example["targets"].tolist() == [
            dataset.item_tokens.first + int(example["target"]), 1
        ]  # fmt: skip
        shown = [t - dataset.item_tokens.first for t in example["inputs"].tolist()]
        assert [item for item in shown if item >= 0] == example["history"].tolist()


@pytest.mark.parametrize("item_ids", ["random", "semantic"])
def test_every_task_has_its_ids_in_item_tokens(item_ids, tmp_path):
    dataset = make_corpus("coded", tmp_path, content=True, item_ids=item_ids, item_tokens=True)
    tokenizer, first = tokenizer_of(dataset), dataset.item_tokens.first
    parts = {part for id_ in dataset.catalogue.ids for part in id_.split("_")}
    part = re.compile(rf"(?<![^\W_])({'|'.join(sorted(parts, reverse=True))})(?![^\W_])")
    seqio.set_tfds_data_dir_override(str(tmp_path))
    tasks.ensure_registered("ut_at_coded", str(tmp_path))
    gin.parse_config("TaskSettings.candidate_pool = 5")
    for kind in set(TASKS) - {"p5_explanation", "p5_review"}:  # this log has no reviews
        task = seqio.get_mixture_or_task(f"{kind}_coded")
        split = "train" if "train" in task.splits else "test"
        lengths = {"inputs": 1024, "targets": 256}
        for example in task.get_dataset(lengths, split, seed=0).take(8).as_numpy_iterator():
            for side in ("inputs", "targets"):
                tokens = example[side].tolist()
                unknown = [n for n, token in enumerate(tokens) if token == tokenizer.unk_id()]
                # The underscore of P5's user_54, which this small vocabulary lacks.
                assert {tokenizer.IdToPiece(tokens[n - 1]) for n in unknown} <= {"▁user"}
                ids = part.findall(tokenizer.decode(tokens))
                assert len(ids) == sum(token >= first for token in tokens), (kind, side, ids)


def test_a_vocabulary_of_whole_words_is_refused(tmp_path):
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["red kite I 1"] * 9), model_writer=file, model_type="word",
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, use_all_vocab=True, minloglevel=2,
    )  # fmt: skip
    path = tmp_path / "words.model"
    path.write_bytes(file.getvalue())
    with pytest.raises(UserError, match=r"reads 'I1,' as .*bpe or unigram"):
        prepared(tmp_path, sentencepiece_model=path)
    assert not (tmp_path / "mine" / "1.0.0").exists()


def test_a_vocabulary_with_items_is_not_extended_again(tmp_path):
    dataset = prepared(tmp_path)
    own = dataset.sentencepiece_model.read_bytes()
    with pytest.raises(UserError, match="holds no items"):
        add_item_tokens(own, dataset.catalogue)


def test_a_vocabulary_of_ones_own_leaves_the_rows_to_the_items(tmp_path):
    draw = np.random.default_rng(0)
    words = ["".join(draw.choice(list("abcdefghijklmnopqrstuvwxyz"), 9)) for _ in range(3000)]
    titles = {f"raw{n}": " ".join(words[100 * n : 100 * n + 100]) for n in range(30)}
    own = {"sentencepiece_model": None, "vocabulary": "own"}
    dataset = prepared(tmp_path, titles, **own)
    assert (
        dataset.item_tokens.first < 2_000 + 2 * 100
    )  # sentinels, and characters that were lacking
    without = prepared(tmp_path / "without", titles, **own, item_tokens=False)
    assert tokenizer_of(without).vocab_size() > 3_000
