"""How fast the input pipeline is, on one core, beside the plain way; prints JSON.

Ours: the training stream of a task or mixture, as the trainer reads it: from positions to padded
batches. The plain way, for the same samples: build each prompt as a string
(`tests/rendered.py`), encode the whole with SentencePiece, pad batches of the same shape. The
plain way is favoured: its windows and negatives are given to it, where ours draws them; an MLM
sample is its text without the corruption; an IE sample is a title. Three plain ways are measured,
and `speed_up` is over the fastest of them:

- `seqio`: SeqIO's own `tokenize`, an example at a time in a `tf.data` map
- `tf_text`: TensorFlow Text, a batch at a time in a `tf.data` map
- `sentencepiece`: the SentencePiece package, a batch at a time in Python

All are in seconds of one CPU's time, so that a busy machine does not matter.

    python tests/benchmarks/pipeline.py ../shared/data > pipeline.json

On Toys with T5's vocabulary it takes 3 minutes. What it should show: a `speed_up` of at least 5 for
`ranking` and `ut_at`.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any

from recalign.host_memory import keep_freed_memory

LENGTHS = {"inputs": 1024, "targets": 128}
KINDS = ("retrieval", "ranking", "mim", "mlm", "bpr", "ie")
MIXTURE = "ut_at"
BATCH = 64


def main() -> None:
    """Measures what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "shared",
        nargs="?",
        type=pathlib.Path,
        default=os.environ.get("RECALIGN_SHARED", "../shared/data"),
        help="the folder that holds amazon/ and t5_vocab/",
    )
    parser.add_argument("--examples", type=int, default=4096, help="of each task")
    parser.add_argument("--only", nargs="+", default=[MIXTURE, *KINDS], help="tasks or mixtures")
    parser.add_argument(
        "--interactions", type=int, default=1_000_000, help="of the log whose preparation is sized"
    )
    parser.add_argument("--prepare", metavar="DIR", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.prepare:
        print(json.dumps(_prepare_drawn_log(options.prepare, options.interactions)))
        return
    keep_freed_memory()  # before there are threads, as `recalign train` does; for all ways alike
    result: dict[str, Any] = {
        "compared": "positions -> padded batches by ours, given samples -> strings -> padded "
        f"batches by the plain ways; batches of {BATCH}, {LENGTHS}; examples a CPU second"
    }
    with tempfile.TemporaryDirectory() as directory:
        if options.interactions:
            # In a process of its own: the peak of memory is the process's.
            command = [sys.executable, __file__, "--prepare", directory]
            command += ["--interactions", str(options.interactions)]
            outcome = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            result["prepare"] = json.loads(outcome.stdout.splitlines()[-1])
        _on_one_core()
        dataset = _prepare_toys(pathlib.Path(options.shared), directory)
        result["examples_per_second"] = {
            name: _compare(f"{name}_{dataset.name}", dataset, options.examples)
            for name in options.only
        }
    print(json.dumps(result, indent=2))


def _on_one_core() -> None:
    import tensorflow as tf

    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def _prepare_toys(shared: pathlib.Path, directory: str) -> Any:
    import seqio

    import tasks
    from recalign.data.from_files import prepare_from_files

    dataset, _ = prepare_from_files(
        "toys",
        data_dir=directory,
        format="sequences",
        interactions=shared / "amazon" / "toys.sequences.tsv.gz",
        items=shared / "amazon" / "toys.items.tsv.gz",
        sentencepiece_model=shared / "t5_vocab" / "sentencepiece.model",
    )
    seqio.set_tfds_data_dir_override(directory)
    tasks.ensure_registered(f"{MIXTURE}_toys", directory)
    return dataset


def _compare(name: str, dataset: Any, examples: int) -> dict[str, Any]:
    import seqio

    from recalign.preprocessors.stream import Stream

    start = time.process_time()
    batches = iter(_single_threaded(Stream.of(name, 0).batches(0, LENGTHS, BATCH, slice(0, BATCH))))
    next(batches)
    first_batch = time.process_time() - start
    # It reads ahead in chunks of thousands, so it is measured over many.
    start = time.process_time()
    for _ in range(8 * examples // BATCH):
        next(batches)
    ours = 8 * examples / (time.process_time() - start)

    provider = seqio.get_mixture_or_task(name)
    parts = [task for task in seqio.get_subtasks(provider) if "train" in task.splits] or [provider]
    samples = [
        (task.kind, sample)
        for task in parts
        for sample in task.get_dataset(LENGTHS, "train", seed=0)
        .take(examples // len(parts))
        .as_numpy_iterator()
    ]
    start = time.process_time()
    texts = list(_texts(samples, dataset))
    build = time.process_time() - start
    vocabulary = parts[0].output_features["inputs"].vocabulary
    plain = {}
    for way, encoder in PLAIN_WAYS.items():
        start = time.process_time()
        encoded = list(encoder(texts, vocabulary))
        plain[way] = len(samples) / (build + time.process_time() - start)
        _check(encoded, samples, vocabulary)
    return {
        "ours": round(ours),
        "plain": {way: round(speed) for way, speed in plain.items()},
        "speed_up": round(ours / max(plain.values()), 2),
        "seconds_to_first_batch": round(first_batch, 2),
        "plain_microseconds_building_a_string": round(build / len(samples) * 1e6),
    }


def _texts(samples: list[tuple[str, Mapping[str, Any]]], dataset: Any) -> Iterator[tuple[str, str]]:
    """The plain way's first half: a sample's items -> its prompt and its answer."""
    import numpy as np

    sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))
    from tests.rendered import Item, render

    catalogue = dataset.catalogue
    draw = np.random.default_rng(0)

    def item(index: int) -> Item:
        return Item(catalogue.ids[index], catalogue.titles[index])

    for kind, sample in samples:
        history = [item(index) for index in sample.get("history", [])]
        target = item(sample["target"]) if "target" in sample else None
        settings: dict[str, Any] = {"history": history, "target": target}
        if kind == "ranking":
            settings["candidates"] = [catalogue.ids[index] for index in sample["candidates"]]
        elif kind == "mim":
            hidden = max(1, len(history) // 5)
            settings["masked"] = draw.choice(len(history), hidden, replace=False).tolist()
        elif kind == "bpr":
            target = target or item(draw.integers(len(catalogue)))
            settings |= {"target": target, "choices": [target, item(draw.integers(len(catalogue)))]}
        elif kind == "ie":
            asked = item(draw.integers(len(catalogue)))
            settings |= {"target": asked, "field": "title", "value": asked.title}
        rendered = render(kind, products="Amazon products", **settings)
        yield rendered.inputs, rendered.targets


def _by_seqio(texts: list[tuple[str, str]], vocabulary: Any) -> Iterator[Any]:
    """The plain way's second half: text -> padded batches of token ids, as SeqIO tokenizes."""
    import tensorflow as tf

    def encode(inputs: Any, targets: Any) -> dict[str, Any]:
        tokens = {"inputs": vocabulary.encode_tf(inputs), "targets": vocabulary.encode_tf(targets)}
        return {
            name: tf.concat([ids[: LENGTHS[name] - 1], [vocabulary.eos_id]], 0)
            for name, ids in tokens.items()
        }

    shapes = {name: [length] for name, length in LENGTHS.items()}
    columns = tuple(list(column) for column in zip(*texts, strict=True))
    batches = tf.data.Dataset.from_tensor_slices(columns).map(encode).padded_batch(BATCH, shapes)
    yield from _single_threaded(batches).as_numpy_iterator()


def _by_tf_text(texts: list[tuple[str, str]], vocabulary: Any) -> Iterator[Any]:
    """The same, a batch of strings at a time."""
    import tensorflow as tf

    def encode(*columns: Any) -> dict[str, Any]:
        encoded = {}
        for name, text_B in zip(LENGTHS, columns, strict=True):
            tokens = vocabulary.tf_tokenizer.tokenize(text_B)[:, : LENGTHS[name] - 1]
            end_Bx1 = tf.fill([tf.size(text_B), 1], vocabulary.eos_id)
            tokens = tf.concat([tokens, end_Bx1], axis=1)
            encoded[name] = tokens.to_tensor(shape=[None, LENGTHS[name]])
        return encoded

    columns = tuple(list(column) for column in zip(*texts, strict=True))
    batches = tf.data.Dataset.from_tensor_slices(columns).batch(BATCH).map(encode)
    yield from _single_threaded(batches).as_numpy_iterator()


def _by_sentencepiece(texts: list[tuple[str, str]], vocabulary: Any) -> Iterator[Any]:
    """The same, without TensorFlow."""
    import numpy as np

    for start in range(0, len(texts), BATCH):
        batch = {}
        columns = zip(*texts[start : start + BATCH], strict=True)
        for name, column in zip(LENGTHS, columns, strict=True):
            rows = vocabulary.tokenizer.EncodeAsIds(list(column))
            batch[name] = np.zeros((len(rows), LENGTHS[name]), np.int32)
            for row, ids in enumerate(rows):
                ids = [*ids[: LENGTHS[name] - 1], vocabulary.eos_id]
                batch[name][row, : len(ids)] = ids
        yield batch


PLAIN_WAYS = {"seqio": _by_seqio, "tf_text": _by_tf_text, "sentencepiece": _by_sentencepiece}


def _single_threaded(dataset: Any) -> Any:
    import tensorflow as tf

    threads = tf.data.Options()
    threads.threading.private_threadpool_size = 1
    threads.threading.max_intra_op_parallelism = 1
    return dataset.with_options(threads)


def _check(
    encoded: list[Mapping[str, Any]],
    samples: list[tuple[str, Mapping[str, Any]]],
    vocabulary: Any,
) -> None:
    """Both ways give the same text, where the plain way was given the whole sample.

    And nearly always the same tokens: over a long prompt SentencePiece adds scores up to thousands
    in single precision, so that it splits a number in another of two ways that are as good.
    """
    for batch_number, batch in enumerate(encoded):
        for row, (kind, sample) in enumerate(samples[batch_number * BATCH :][:BATCH]):
            length = len(sample["inputs"])
            if kind in ("retrieval", "ranking") and length < LENGTHS["inputs"]:
                ours = sample["inputs"].tolist()
                plain = [token for token in batch["inputs"][row].tolist() if token]
                if ours != plain:
                    assert vocabulary.decode(ours) == vocabulary.decode(plain), kind


def _prepare_drawn_log(directory: str, interactions: int) -> dict[str, float]:
    """Draws a log, prepares it, and says what that took beyond the log's own draw."""
    import numpy as np

    from recalign.data.from_files import prepare_from_files

    draw = np.random.default_rng(0)
    path = os.path.join(directory, "drawn.csv")
    with open(path, "w") as file:
        file.write("user,item,rating,timestamp\n")
        for start in range(0, interactions, 100_000):
            size = min(100_000, interactions - start)
            users = draw.integers(interactions // 10, size=size)
            items = (draw.pareto(1.0, size) * interactions / 500).astype(int)
            items %= interactions // 40
            times = draw.integers(1_200_000_000, 1_400_000_000, size)
            lines = zip(users, items, times, strict=True)
            file.writelines(f"A{user:09},B{item:09},5,{time}\n" for user, item, time in lines)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    dataset, _ = prepare_from_files("drawn", data_dir=directory, interactions=path)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    millions = interactions / 1e6
    return {
        "interactions": interactions,
        "left_after_5_core": dataset.info["interactions"],
        "seconds": round(seconds, 1),
        "peak_megabytes": round(peak / 1024),
        "megabytes_per_million": round((peak - before) / 1024 / millions),
    }


if __name__ == "__main__":
    main()
