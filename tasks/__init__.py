"""Tasks and mixtures: importing this module registers those of the known datasets with SeqIO.

Nothing is read from disk before a task is used. A dataset of one's own is one more call, in any
module: `tasks.register_dataset("mine", products="films")`, and a mixture one more:
`tasks.register_mixture("mine_mix", ["retrieval_mine", "mim_mine"])`. A prepared dataset that no
module registered is registered when a task of it is asked for (`ensure_registered`).

Data lie in the folder of the surroundings that were entered (--data_dir, DATA_DIR), else in SeqIO's
(T5X's --tfds_data_dir), else in `data`. A dataset's vocabulary is its own `sentencepiece.model`,
else gin's (`tasks.vocabulary.sentencepiece_model`), else T5's on gs://t5-data.
"""

from tasks.blocks import TASKS
from tasks.registration import (
    MIXTURES,
    ensure_registered,
    register_dataset,
    register_mixture,
    register_task,
    task_of,
)

__all__ = [
    "MIXTURES",
    "TASKS",
    "ensure_registered",
    "register_dataset",
    "register_mixture",
    "register_task",
    "task_of",
]

# Amazon Toys & Games, Beauty, Sports & Outdoors: the paper's datasets.
for name in ("toys", "beauty", "sports"):
    register_dataset(name, products="Amazon products")

# The synthetic corpus of the demo.
register_dataset("demo", products="products")
