"""One of SeqIO's own preprocessors after ours: from an item's title to the question about it."""

import functools

import seqio

import tasks

ie = tasks.TASKS["ie"]
turn = functools.partial(
    seqio.preprocessors.rekey, key_map={"inputs": "targets", "targets": "inputs"}
)
turned = ie | {"preprocessors": [*ie["preprocessors"], turn]}
tasks.register_task(tasks.task_of("turned", "tiny", **turned))
