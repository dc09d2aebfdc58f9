"""The demo corpus: the same from the same seed, its law beside it, its words whole pieces."""

import itertools

import numpy as np
import pytest
import sentencepiece

from recalign.baselines.references import popularity_ranks
from recalign.data import synthetic
from recalign.data.synthetic import CorpusConfig, prepare_demo, read_law
from recalign.errors import UserError
from recalign.prompts import P5 as WORDING

SMALL = CorpusConfig(users=300, themes=4, products=5)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return prepare_demo(tmp_path_factory.mktemp("data"), seed=1)


def test_same_seed_same_corpus_other_seed_another(tmp_path):
    first, again, other = (
        prepare_demo(tmp_path / name, seed, config=SMALL)
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert first.info["fingerprint"] == again.info["fingerprint"] != other.info["fingerprint"]
    np.testing.assert_array_equal(first.sequences("test").items, again.sequences("test").items)


def test_the_law_speaks_of_the_catalogue(demo):
    """Quality and theme of item j, as the law beside the data has them, stand in j's title."""
    law = read_law(demo)
    for index, title in enumerate(demo.catalogue.titles):
        theme, product, quality = title.split()
        assert synthetic.QUALITIES[quality] == law.quality[index]
        assert synthetic.THEMES[law.theme[index]] == theme
        assert demo.catalogue.raw_ids[index] == f"{theme}-{product}"


def test_the_demo_is_not_trivial(demo):
    """The bounds that make a result mean something, on its test split."""
    law, sequences = read_law(demo), demo.sequences("test")
    targets = sequences.items[sequences.row_splits[1:] - 1]
    popular = popularity_ranks(demo.catalogue.train_counts)[targets] < 10
    best = []
    for start, end in zip(sequences.row_splits[:-1], sequences.row_splits[1:] - 1, strict=True):
        scores = law.next_item(sequences.items[start:end].tolist())
        best.append((scores > scores[sequences.items[end]]).sum() < 10)
    assert popular.mean() <= 0.25
    assert 2.5 * popular.mean() < np.mean(best) <= 0.9
    assert len(demo.catalogue) >= 80 and len(sequences) >= 1000
    words = [word for title in demo.catalogue.titles for word in title.split()]
    assert min(words.count(word) for word in words) > 1


def test_a_larger_catalogue_has_more_words_of_the_same_kind(tmp_path):
    config = CorpusConfig(users=600, themes=22, products=3)
    dataset = prepare_demo(tmp_path, name="larger", config=config)
    themes = {raw_id.split("-")[0] for raw_id in dataset.catalogue.raw_ids}
    assert len(themes) == 22 and {"monster", "piratespace", "piratefarm"} <= themes
    assert read_law(dataset).num_themes == 22
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(dataset.sentencepiece_model))
    assert all(tokenizer.unk_id() not in tokenizer.encode(t) for t in dataset.catalogue.titles)


def test_p5s_prompts_have_no_unknown_pieces(demo):
    """And the sentinels end where T5's hundred would: with the model's last token."""
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(demo.sentencepiece_model))
    for words in [*itertools.chain(*WORDING.values()), "user_1234567890"]:
        plain = words.replace("{", "").replace("}", "")
        assert tokenizer.unk_id() not in tokenizer.encode(plain), words
    last = tokenizer.vocab_size() - 1
    assert last == synthetic.VOCABULARY_SIZE + 99
    pieces = [tokenizer.id_to_piece(last - number) for number in range(synthetic.SENTINELS)]
    assert pieces == [f"▁<extra_id_{number}>" for number in range(synthetic.SENTINELS)]


def test_words_are_whole_pieces_and_ids_look_the_same_everywhere(demo):
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(demo.sentencepiece_model))
    assert (tokenizer.pad_id(), tokenizer.eos_id(), tokenizer.unk_id()) == (0, 1, 2)
    for title in demo.catalogue.titles:
        assert tokenizer.encode(title, out_type=str) == [f"▁{word}" for word in title.split()]
    for item_id in demo.catalogue.ids:
        alone = tokenizer.encode(item_id, out_type=str)
        assert tokenizer.encode(f"{item_id}, {item_id}.", out_type=str) == [
            *alone,
            ",",
            *alone,
            ".",
        ]


@pytest.mark.parametrize(
    "config",
    [
        CorpusConfig(themes=1),
        CorpusConfig(products=401),
        CorpusConfig(shortest=2),
        CorpusConfig(shortest=9, longest=8),
        CorpusConfig(users=30),
    ],
)
def test_a_corpus_that_cannot_be_drawn_is_refused(config, tmp_path):
    with pytest.raises(UserError, match="synthetic corpus"):
        prepare_demo(tmp_path, config=config)
    assert not list(tmp_path.iterdir())
