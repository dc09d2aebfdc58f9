"""What is registered, what gin sets, and the vocabulary that is found when it is used."""

import copy
import subprocess
import sys

import gin
import numpy as np
import pytest
import seqio

import tasks
from recalign.data.from_files import prepare_from_files
from recalign.data.interactions import ItemTable
from recalign.data.prepare import prepare
from recalign.errors import UserError
from recalign.preprocessors.settings import TaskSettings
from recalign.preprocessors.stream import Stream
from recalign.preprocessors.surroundings import Surroundings
from tasks.blocks import TASKS
from tasks.vocabulary import DatasetVocabulary, plain_vocabulary
from tests.corpus import log_of, make_corpus, shared_data, vocabulary_file

LENGTHS = {"inputs": 128, "targets": 64}


@pytest.fixture(autouse=True)
def clean_gin():
    gin.clear_config()
    yield
    gin.clear_config()


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("data")
    make_corpus("films", path)
    make_corpus("plain", path, sequences=["abcdef", "bcdefg", "gfedhij", "abcg"])
    return str(path)


@pytest.fixture
def prepared(data_dir, monkeypatch):
    monkeypatch.setattr(seqio.utils, "_TFDS_DATA_DIR_OVERRIDE", data_dir)
    gin.parse_config("TaskSettings.history_length = 5\nTaskSettings.candidate_pool = 3")
    for name in ("films", "plain"):
        tasks.ensure_registered(f"ut_at_{name}")


WINDOWS = {
    "mim": "item_windows",
    "mlm": "sub_sequences",
    "ie": "item_contents",
    "p5_direct": "users_items",
    "p5_rating": "each_interaction",
    "p5_explanation": "explanations",
    "p5_review": "reviews",
}
DRAWN = {
    "ranking": ["negatives", "shuffled_pool"],
    "mim": ["mask_items"],
    "mlm": ["corrupt_spans"],
    "bpr": ["negatives", "two_choices"],
    "p5_sequential": ["draw_template", "negatives", "shuffled_pool", "yes_or_no"],
    "p5_direct": ["draw_template", "negatives", "shuffled_pool", "yes_or_no"],
    "p5_2_7": ["draw_template", "negatives", "shuffled_pool", "yes_or_no"],
    "p5_rating": ["draw_template", "yes_or_no"],
    "p5_explanation": ["draw_template", "yes_or_no"],
    "p5_review": ["draw_template", "yes_or_no"],
}
WITHOUT_A_HISTORY = set(WINDOWS) - {"mim", "mlm"}


@pytest.mark.parametrize("kind", TASKS)
def test_a_task_names_what_happens_to_a_users_sequence(kind):
    steps = seqio.get_mixture_or_task(f"{kind}_demo").preprocessors
    names = [step.__name__ for step in steps]
    assert names[0] == WINDOWS.get(kind, "next_item_windows")
    random = {name for of_kind in DRAWN.values() for name in of_kind}
    assert [name for name in names if name in random] == DRAWN.get(kind, [])
    assert ("drop_old_history" in names) == (kind not in WITHOUT_A_HISTORY)
    assert "render" in names
    assert names[-1] == "keep_features"


@pytest.mark.parametrize("dataset", ["toys", "beauty", "sports", "demo"])
def test_known_datasets_have_every_task_and_mixture(dataset):
    assert {f"{kind}_{dataset}" for kind in TASKS} <= set(seqio.TaskRegistry.names())
    expected = {
        "reat": {"retrieval", "mim", "mlm"},
        "raat": {"ranking", "mim", "mlm", "bpr"},
        "rpat": {"rating", "mim", "mlm"},
        "ut": {"retrieval", "ranking", "rating"},
        "ut_at": {"retrieval", "ranking", "rating", "mim", "mlm"},
        "ut_ie": {"retrieval", "ranking", "rating", "ie"},
        "retrieval_mlm": {"retrieval", "mlm"},
        "ranking_mlm": {"ranking", "mlm"},
        "ranking_mlm_mim": {"ranking", "mlm", "mim"},
        "rating_mlm": {"rating", "mlm"},
        "p5": {"p5_sequential", "p5_direct", "p5_rating", "p5_explanation", "p5_review", "p5_2_7"},
    }
    for mixture, kinds in expected.items():
        names = {task.name for task in seqio.MixtureRegistry.get(f"{mixture}_{dataset}").tasks}
        assert names == {f"{kind}_{dataset}" for kind in kinds}


def test_importing_reads_no_data(tmp_path):
    program = "from recalign import quiet; quiet.load_tensorflow(); "
    program += "import tasks, seqio; print(len(seqio.TaskRegistry.names()))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, os; sys.path.insert(0, os.getcwd()); "
         f"here = os.getcwd(); os.chdir({str(tmp_path)!r}); {program}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == str(4 * len(TASKS))


def test_a_prepared_dataset_is_registered_with_defaults(prepared):
    task = seqio.get_mixture_or_task("ranking_films")
    example = next(task.get_dataset(LENGTHS, "test").as_numpy_iterator())
    text = task.output_features["inputs"].vocabulary.decode(example["inputs"].tolist())
    assert text.startswith("A user has purchased the following products (")
    assert len(example["candidates"]) == 3
    tasks.ensure_registered("reat_films")


def test_unknown_names_are_users_errors(prepared):
    with pytest.raises(UserError, match=r"did you mean .*reat_toys.*Prepared in .*: films, plain"):
        tasks.ensure_registered("reat_toy")
    with pytest.raises(UserError, match="recalign prepare sports"):
        seqio.get_mixture_or_task("retrieval_sports").get_dataset(LENGTHS)
    with pytest.raises(UserError, match="registered already"):
        tasks.register_dataset("toys")


def test_a_dataset_without_ratings_leaves_the_rating_task_out(prepared):
    mixture = seqio.get_mixture_or_task("ut_plain")
    assert seqio.get_mixture_or_task("rating_plain").splits == ()
    examples = list(mixture.get_dataset(LENGTHS, "train", seed=0).take(20).as_numpy_iterator())
    assert len(examples) == 20
    with pytest.raises(UserError, match="rating_plain: the log of dataset 'plain' has no ratings"):
        seqio.get_mixture_or_task("rating_plain").get_dataset(LENGTHS)


@pytest.mark.parametrize("mixture", ["rpat_plain", "rating_mlm_plain"])
def test_a_mixture_that_lost_what_it_is_there_for_is_a_users_error(mixture, prepared):
    error = f"{mixture} is there for rating_plain: the log of dataset 'plain' has no ratings"
    with pytest.raises(UserError, match=error):
        seqio.get_mixture_or_task(mixture).get_dataset(LENGTHS, "train", seed=0)
    with pytest.raises(UserError, match=error):
        Stream.of(mixture, 0)
    assert len(Stream.of("ut_plain", 0).tasks) == 2


def test_mixtures_run_through_seqios_feature_converter(prepared):
    dataset = seqio.get_dataset(
        "ut_at_films",
        LENGTHS,
        seqio.EncDecFeatureConverter(pack=False),
        dataset_split="train",
        shuffle=True,
        num_epochs=None,
        seed=1,
    )
    batch = next(dataset.batch(32).as_numpy_iterator())
    assert batch["encoder_input_tokens"].shape == (32, 128)
    ends = batch["decoder_target_tokens"]
    assert ((ends == 1).sum(axis=1) == 1).all()


def counts_of(mixture, count=600):
    """Shares of masked items, retrieval and masked words; SeqIO reads it so (test_mixture.py)."""
    stream = Stream.of(mixture, seed=0)
    counts = dict(zip((task.kind for task in stream.tasks), stream.counts(0, count), strict=True))
    return np.array([counts[kind] for kind in ("mim", "retrieval", "mlm")]) / count


def test_rates_are_equal_until_gin_says_otherwise_when_used(prepared):
    assert np.allclose(counts_of("reat_films"), 1 / 3, atol=0.07)
    gin.parse_config('mixture_rates.rates = {"mim": 2, "retrieval_films": 1, "mlm": 0}')
    assert np.allclose(counts_of("reat_films"), [2 / 3, 1 / 3, 0], atol=0.07)
    gin.parse_config('reat_films/mixture_rates.rates = {"retrieval": 0.0, "mlm": 0}')
    assert np.allclose(counts_of("reat_films"), [1, 0, 0], atol=1e-9)


def test_p5s_mixture_favours_two_families_until_gin_says_otherwise(prepared):
    mixture = seqio.get_mixture_or_task("p5_films")
    rates = {task.kind: mixture.get_rate(task) for task in mixture.tasks}
    assert rates.pop("p5_sequential") == rates.pop("p5_direct") == 5.0
    assert set(rates.values()) == {1.0}
    gin.parse_config('p5_films/mixture_rates.rates = {"p5_direct": 2, "p5_review": 3}')
    rates = {task.kind: mixture.get_rate(task) for task in mixture.tasks}
    assert (rates["p5_direct"], rates["p5_review"], rates["p5_sequential"]) == (2, 3, 5)


def test_p5s_mixture_leaves_out_what_the_log_lacks(prepared):
    lengths = {"inputs": 256, "targets": 64}
    for name, left in (("films", {"p5_sequential", "p5_direct", "p5_rating"}),
                       ("plain", {"p5_sequential", "p5_direct"})):  # fmt: skip
        mixture = seqio.get_mixture_or_task(f"p5_{name}")
        assert {task.kind for task in mixture.tasks if "train" in task.splits} == left
        evaluated = {task.kind for task in mixture.tasks if task.metric_objs and task.splits}
        assert evaluated == left | {"p5_2_7"}
    dataset = mixture.get_dataset(lengths, "train", seed=0).take(30)
    assert len(list(dataset.as_numpy_iterator())) == 30
    with pytest.raises(UserError, match="p5_review_films: dataset 'films' has no review texts"):
        seqio.get_mixture_or_task("p5_review_films").get_dataset(lengths)
    with pytest.raises(UserError, match="p5_2_7_films has no split 'train'; it has validation, te"):
        seqio.get_mixture_or_task("p5_2_7_films").get_dataset(lengths)
    evaluated_as = {task.kind: task.evaluated_as for task in mixture.tasks}
    assert evaluated_as == {
        "p5_sequential": "retrieval", "p5_2_7": "ranking", "p5_direct": "ranking",
        "p5_rating": "rating", "p5_explanation": "", "p5_review": "",
    }  # fmt: skip


def test_a_misspelt_rate_is_a_users_error(prepared):
    gin.parse_config('mixture_rates.rates = {"retreival": 2}')
    with pytest.raises(UserError, match="retreival"):
        seqio.get_mixture_or_task("reat_films").get_dataset(LENGTHS, "train", seed=0)


def test_a_mixture_of_ones_own_is_one_call(prepared):
    tasks.register_mixture("own_mix", ["ranking_films", "bpr_films"])
    try:
        mixture = seqio.get_mixture_or_task("own_mix")
        assert [mixture.get_rate(task) for task in mixture.tasks] == [1.0, 1.0]
    finally:
        seqio.MixtureRegistry.remove("own_mix")


def test_impossible_settings_are_users_errors():
    gin.parse_config("TaskSettings.masking_ratio = 1.5")
    with pytest.raises(UserError, match="masking_ratio = 1.5: between 0 and 1"):
        TaskSettings()


def test_vocabulary_equals_a_plain_one_of_the_same_file(prepared, data_dir):
    own = seqio.get_mixture_or_task("mim_films").output_features["targets"].vocabulary
    plain = seqio.SentencePieceVocabulary(f"{data_dir}/films/1.0.0/sentencepiece.model", 100)
    assert own == plain and plain == own
    differences = [own != plain, plain != own]  # what T5X asks
    assert not any(differences)
    assert own != seqio.SentencePieceVocabulary(plain.sentencepiece_model_file, 50)
    assert own != seqio.SentencePieceVocabulary(vocabulary_file(), 100)
    assert copy.deepcopy(own) == own
    assert (own.vocab_size, own.extra_ids) == (plain.vocab_size, 100)
    assert own.encode("Item ID: I1") == plain.encode("Item ID: I1")
    assert own.decode(own.encode("Item ID: I1")) == "Item ID: I1"


def test_vocabulary_is_resolved_when_used_not_when_made():
    DatasetVocabulary("no_such_dataset")
    with pytest.raises(UserError, match="no_such_dataset"):
        _ = DatasetVocabulary("no_such_dataset").vocab_size


def test_gin_names_the_vocabulary_of_datasets_without_their_own(tmp_path, monkeypatch):
    log, no_items = log_of(["abcde", "bcdef"]), ItemTable([], [], [], [], [], [])
    prepare(log, no_items, name="bare", data_dir=tmp_path, k_core=0)
    monkeypatch.setattr(seqio.utils, "_TFDS_DATA_DIR_OVERRIDE", str(tmp_path))
    gin.parse_config(f"tasks.vocabulary.sentencepiece_model = {vocabulary_file()!r}")
    assert DatasetVocabulary("bare") == seqio.SentencePieceVocabulary(vocabulary_file(), 100)
    gin.parse_config(f"tasks.vocabulary.sentencepiece_model = {str(tmp_path / 'nothing')!r}")
    with pytest.raises(UserError, match=r"nothing: .*--sentencepiece_model"):
        _ = DatasetVocabulary("bare").vocab_size


def test_t5s_own_file_brings_its_sentinels():
    path = shared_data() / "t5_vocab" / "sentencepiece.model"
    vocabulary = plain_vocabulary(str(path))
    assert vocabulary.extra_ids == 0
    first = vocabulary.tokenizer.PieceToId("▁<extra_id_0>")
    assert first == vocabulary.vocab_size - 1


def test_toys_has_the_papers_numbers_of_samples(tmp_path, monkeypatch):
    import gzip

    from recalign.data.interactions import ItemTable
    from recalign.data.prepare import prepare
    from tests.corpus import log_of

    shared = shared_data()
    with gzip.open(shared / "amazon" / "toys.sequences.tsv.gz", "rt") as file:
        log = log_of([line.rstrip("\n").split("\t")[1].split() for line in file])
    with gzip.open(shared / "amazon" / "toys.items.tsv.gz", "rt") as file:
        ids, titles = zip(*(line.rstrip("\n").split("\t") for line in file), strict=True)
    table = ItemTable.of_titles(list(ids), list(titles))
    vocabulary = shared / "t5_vocab" / "sentencepiece.model"
    prepare(log, table, name="toys", data_dir=tmp_path, sentencepiece_model=vocabulary)
    monkeypatch.setattr(seqio.utils, "_TFDS_DATA_DIR_OVERRIDE", str(tmp_path))
    for kind in ("retrieval", "ranking"):
        task = seqio.get_mixture_or_task(f"{kind}_toys")
        counts = [task.num_input_examples(s) for s in ("train", "validation", "test")]
        assert counts == [30761, 3000, 19412]
    # Half of the paper's input length has room for any pool of 100, its question and an item.
    example = next(task.get_dataset({"inputs": 512, "targets": 16}, "test").as_numpy_iterator())
    assert len(example["candidates"]) == 100


def test_a_dataset_may_say_what_its_users_did(tmp_path, monkeypatch):
    lines = [f"u{n},Song {(n + k) % 9},{n + k}" for n in range(9) for k in range(6)]
    (tmp_path / "log.csv").write_text("\n".join(["user,item,time", *lines]))
    prepare_from_files(
        "songs",
        data_dir=tmp_path,
        interactions=tmp_path / "log.csv",
        vocabulary="own",
        noun="songs",
        verb=("listened to", "listen to"),
    )
    monkeypatch.setattr(seqio.utils, "_TFDS_DATA_DIR_OVERRIDE", str(tmp_path))
    tasks.ensure_registered("retrieval_songs")
    task = seqio.get_mixture_or_task("retrieval_songs")
    (example,) = task.get_dataset(None, "test").take(1).as_numpy_iterator()
    text = task.output_features["inputs"].vocabulary.decode(example["inputs"].tolist())
    # A vocabulary of one's own is trained with punctuation apart.
    words = text.replace(" ", "")
    assert words.startswith("Auserhaslistenedtothefollowingsongs(arrangedin")
    assert words.endswith("Whatwouldtheuserlistentonext?")


def test_two_folders_of_one_name_each_have_their_own_words(tmp_path):
    """A dataset is registered once in a process; its words are those of the folder at hand."""
    log = log_of(["abcde", "bcdef", "cdefa"])
    titles = ItemTable.of_titles(list("abcdef"), list("uvwxyz"))
    wordings = {"bought": {}, "heard": {"noun": "songs", "verb": ("listened to", "listen to")}}
    for place, wording in wordings.items():
        prepare(
            log, titles, name="twice", data_dir=tmp_path / place, k_core=0,
            sentencepiece_model=vocabulary_file(), **wording,
        )  # fmt: skip
    texts = {}
    for place in ("bought", "heard", "bought"):
        with Surroundings(str(tmp_path / place)).entered():
            tasks.ensure_registered("retrieval_twice")
            task = seqio.get_mixture_or_task("retrieval_twice")
            (example,) = task.get_dataset(None, "test", shuffle=False).take(1).as_numpy_iterator()
            vocabulary = task.output_features["inputs"].vocabulary
            text = vocabulary.decode(example["inputs"].tolist())
        assert texts.setdefault(place, text) == text
    assert texts["bought"].startswith("A user has purchased the following products")
    assert texts["heard"].startswith("A user has listened to the following songs")
