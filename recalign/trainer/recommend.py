"""Recommending from a trained run: a history of items -> the most likely next items."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import seqio
import tensorflow as tf
from etils import epath
from jaxtyping import Int

from recalign.errors import UserError
from recalign.preprocessors.draws import Draws
from recalign.preprocessors.fitting import keep_recent
from recalign.preprocessors.settings import TaskSettings
from recalign.preprocessors.task import DEFAULT_DATA_DIR, RecommendationTask, data_directory
from recalign.preprocessors.windows import ABSENT, Windows
from recalign.trainer import partitioning, setup
from recalign.trainer.checkpoints import Checkpoints
from recalign.trainer.decoding import BeamDecoder, bucket_lengths
from recalign.trainer.evaluation import catalogue_trie
from recalign.trainer.experiment import load_experiment
from recalign.trainer.state import sharded_params_shape
from recalign.trainer.writers import CONFIG_FILE

# Fewer beams than this would miss good items.
_LEAST_BEAMS = 20


class Recommendation(NamedTuple):
    """An item with the natural logarithm of its probability to be the next."""

    id: str
    title: str
    log_prob: float


class Recommender:
    """A run's model with its catalogue, kept in memory between requests."""

    def __init__(self, model_dir: str | os.PathLike, checkpoint: str | int = "best"):
        """Loads a run.

        Args:
          model_dir: a run's MODEL_DIR.
          checkpoint: "best", "last" or a step.

        Raises:
          UserError: no run is there, or it was not trained on a retrieval task.
        """
        directory = epath.Path(model_dir)
        config = directory / CONFIG_FILE
        if not config.exists():
            raise UserError(f"{directory} is no run: it holds no {CONFIG_FILE}")
        bindings = [f"MODEL_DIR = {os.fspath(directory)!r}"]
        if (data_dir := data_directory()) != DEFAULT_DATA_DIR:
            bindings.append(f"DATA_DIR = {data_dir!r}")
        self._experiment = experiment = load_experiment([os.fspath(config)], bindings)
        setup.prepare(experiment)
        self._mesh = partitioning.make_mesh(experiment.num_partitions)
        checkpoints = Checkpoints(directory, read_only=True)
        try:
            self.step, self._params = checkpoints.restore_params(
                checkpoint, sharded_params_shape(experiment.config, self._mesh)
            )
        finally:
            checkpoints.close()
        task = _retrieval_task(experiment.mixture_or_task_name)
        self._catalogue = task.source.open().catalogue
        self._index_of_raw_id = {raw: i for i, raw in enumerate(self._catalogue.raw_ids)}
        self._samples = task.samples("test", experiment.task_feature_lengths)
        self._trie = catalogue_trie(task)
        vocabulary = task.output_features["targets"].vocabulary
        self._index_of_tokens = {
            tuple(vocabulary.encode(item)): index for index, item in enumerate(self._catalogue.ids)
        }
        self._eos = vocabulary.eos_id

    def recommend(
        self, history: Sequence[str], k: int = 10, only: Sequence[str] | None = None
    ) -> list[Recommendation]:
        """The k most likely next items, the most likely first.

        Args:
          history: IDs of the catalogue ("I12") or of the raw log, the oldest first. The newest
            that fit into the window are shown to the model.
          k: how many items; fewer come back where `only` has fewer.
          only: the IDs to choose from; None for the whole catalogue.

        Raises:
          UserError: an ID that no item has, or an empty history.
        """
        if not history:
            raise UserError("an empty history: at least one item is needed")
        items = [self._index(item, "history") for item in history]
        candidates = None
        if only is not None:
            if not only:
                raise UserError("no items to choose from: the list of allowed IDs is empty")
            candidates = _repeated(
                np.array([self._index(item, "the allowed IDs") for item in only])
            )
        inputs_BxL = self._inputs(items)
        # Without the length penalty, which would favour items whose IDs have more tokens.
        beam_size = max(k, _LEAST_BEAMS)
        decoder = BeamDecoder(self._experiment.config, self._mesh, beam_size, alpha=0.0)
        beams = decoder(
            self._params,
            inputs_BxL,
            max_decode_len=self._trie.depth,
            trie=self._trie,
            candidates_BxC=None
            if candidates is None
            else np.broadcast_to(candidates, (len(inputs_BxL), len(candidates))),
        )
        found = []
        for tokens, log_prob in zip(beams.tokens_BxKxT[0], beams.log_probs_BxK[0], strict=True):
            if tokens.any():  # the first beams are fillers where there are fewer items than beams
                index = self._index_of_tokens[_without_end(tokens, self._eos)]
                found.append(
                    Recommendation(
                        self._catalogue.ids[index], self._catalogue.titles[index], float(log_prob)
                    )
                )
        return found[::-1][:k]

    def _index(self, item: str, where: str) -> int:
        try:
            return self._catalogue.index_of(item)
        except UserError as error:
            if (index := self._index_of_raw_id.get(item)) is not None:
                return index
            raise UserError(f"{where}: {error}") from error

    def _inputs(self, items: Sequence[int]) -> Int[np.ndarray, "B L"]:
        """The retrieval prompt of a history, once a device, padded to a compiled length."""
        width = TaskSettings().history_length
        newest = list(items)[-width:]
        history_1xW = tf.constant([[ABSENT] * (width - len(newest)) + newest], tf.int32)
        windows = Windows(
            record_B=tf.zeros([1], tf.int64),
            row_B=tf.zeros([1], tf.int64),
            history_BxW=history_1xW,
            target_B=tf.zeros([1], tf.int32),
            history_rating_BxW=tf.zeros([1, width], tf.float32),
            target_rating_B=tf.zeros([1], tf.float32),
        )
        nothing_drawn = Draws(0, tf.zeros([1], tf.int64))
        shown = self._samples.show(windows, nothing_drawn)
        cost_BxW, fixed_B = self._samples.history_cost(shown, windows)
        keep_BxW = windows.present_BxW & keep_recent(
            cost_BxW, fixed_B, self._samples.request.inputs
        )
        features = self._samples.examples(windows, shown, keep_BxW, nothing_drawn)
        tokens = features["inputs"][0].numpy()
        longest = self._experiment.task_feature_lengths["inputs"]
        length = next(length for length in bucket_lengths(longest) if length >= len(tokens))
        padded = np.pad(tokens, (0, length - len(tokens))).astype(np.int32)
        return np.tile(padded, (self._mesh.shape[partitioning.DATA], 1))


def recommend(
    model_dir: str | os.PathLike,
    history: Sequence[str],
    k: int = 10,
    only_file: str | os.PathLike | None = None,
) -> list[Recommendation]:
    """`Recommender.recommend` once; `only_file` holds an allowed ID a line."""
    only = None
    if only_file is not None:
        path = epath.Path(only_file)
        if not path.exists():
            raise UserError(f"{path}: no such file of allowed IDs")
        only = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    return Recommender(model_dir).recommend(history, k, only)


def _retrieval_task(mixture_or_task_name: str) -> RecommendationTask:
    provider = seqio.get_mixture_or_task(mixture_or_task_name)
    for task in seqio.get_subtasks(provider):
        if isinstance(task, RecommendationTask) and task.kind == "retrieval":
            return task
    raise UserError(
        f"the run was trained on {mixture_or_task_name}, which has no retrieval task to "
        "recommend by"
    )


def _repeated(indices: np.ndarray) -> np.ndarray:
    """Filled up with its last entry to a power of two, so that few lengths are compiled."""
    length = 1 << (len(indices) - 1).bit_length()
    return np.pad(indices, (0, length - len(indices)), mode="edge").astype(np.int32)


def _without_end(tokens: np.ndarray, eos: int) -> tuple[int, ...]:
    ends = np.flatnonzero(tokens == eos)
    return tuple(tokens[: ends[0]].tolist() if len(ends) else np.trim_zeros(tokens, "b").tolist())
