"""Makes the file of batches that `accelerator.py` takes to a machine without TensorFlow.

    PYTHONPATH=. python tests/benchmarks/accelerator_batches.py batches.npz \\
        [--mixture ut_at_toys] [--data_dir data]

Half a megabyte for Toys. The first examples of the mixture's stream, packed into 256 rows
(`packed/…`) and one a row (`one/…`), and prompts of retrieval, to be decoded (`prompts`).
"""

import argparse
import json
import pathlib

import numpy as np
import seqio

import tasks
from recalign.preprocessors.packed_stream import spread
from recalign.preprocessors.packing import packed_rows, rows_of_examples
from recalign.preprocessors.stream import Stream

LENGTHS = {"inputs": 1024, "targets": 128}
ROWS, MOST_EXAMPLES, STEP, PROMPTS = 256, 2048, 32, 64


def main() -> None:
    """Writes the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--mixture", default="ut_at_toys")
    parser.add_argument("--data_dir", default="data")
    options = parser.parse_args()

    arrays = batches_of(options.mixture, options.data_dir)
    np.savez_compressed(
        options.file,
        mixture=options.mixture,
        **{name: rows.astype(np.uint16) for name, rows in arrays.items()},
    )
    examples = len(arrays["one/inputs"])
    print(json.dumps({"bytes": options.file.stat().st_size, "examples": examples, "rows": ROWS}))


def batches_of(mixture: str, data_dir: str) -> dict[str, np.ndarray]:
    """The arrays of the file."""
    seqio.set_tfds_data_dir_override(data_dir)
    tasks.ensure_registered(mixture, data_dir)
    stream = Stream.of(mixture, 0)
    batches = stream.batches(0, LENGTHS, MOST_EXAMPLES, slice(0, MOST_EXAMPLES))
    batch = next(batches.as_numpy_iterator())
    # As many of the first examples as find room.
    count, row_N = 0, np.zeros(0, int)
    while True:
        more = {name: batch[name][: count + STEP] for name in LENGTHS}
        sizes = {name: np.count_nonzero(tokens, axis=1) for name, tokens in more.items()}
        tried_N = rows_of_examples(sizes, LENGTHS, ROWS)
        if tried_N.min() < 0 or len(tried_N) == count:
            break
        count, row_N = len(tried_N), tried_N
    one = {name: batch[name][:count] for name in LENGTHS}
    # The packer's rows begin with the longest examples; a step is to hold rows of every kind.
    packed = packed_rows(one, spread(ROWS)[row_N], LENGTHS, ROWS)
    (retrieval,) = [n for n, task in enumerate(stream.tasks) if task.kind == "retrieval"]
    prompts = batch["inputs"][batch["task"] == retrieval][:PROMPTS]
    width = -(-int(np.count_nonzero(prompts, axis=1).max()) // 128) * 128
    return {
        "prompts": prompts[:, :width],
        **{f"one/{name}": rows for name, rows in one.items()},
        **{f"packed/{name}": it for name, it in packed.items() if "_positions" not in name},
    }


if __name__ == "__main__":
    main()
