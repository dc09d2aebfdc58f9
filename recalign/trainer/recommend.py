"""Recommending from a trained run: a history of items -> the most likely next items."""

import math
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import seqio
import tensorflow as tf
from etils import epath
from jaxtyping import Int

from recalign.errors import UserError
from recalign.preprocessors.samples import Samples
from recalign.preprocessors.task import RecommendationTask
from recalign.preprocessors.windows import ABSENT
from recalign.trainer import fusion, partitioning, provenance, setup
from recalign.trainer.checkpoints import Checkpoints
from recalign.trainer.decoding import EXACT, POOL, BeamDecoder, bucket_lengths, fetch
from recalign.trainer.evaluation import answer_trie
from recalign.trainer.experiment import Experiment
from recalign.trainer.run_config import load_run
from recalign.trainer.state import sharded_params_shape
from recalign.trainer.writers import say

# Fewer beams than this would miss good items.
_LEAST_BEAMS = 20
MOST_ITEMS = 200
"""The most items that a request may ask for: memory and time grow with the square of the beams."""
_MOST_HISTORY = 10_000


class Recommendation(NamedTuple):
    """An item, with the probability that it is the next (`score`) and its natural logarithm."""

    id: str
    raw_id: str
    title: str
    score: float
    log_prob: float


class Recommender:
    """A run's model with its catalogue, kept in memory between requests.

    A request's history and allowed items are values, not shapes: requests compile nothing after
    `warm_up`, unless one asks for more items than any before.
    """

    def __init__(
        self,
        model_dir: str | os.PathLike,
        checkpoint: str | int = "best",
        *,
        repeats: bool = False,
        most_items: int = MOST_ITEMS,
        data_dir: str | None = None,
        modules: Sequence[str] = (),
        model_alone: bool = False,
    ):
        """Loads a run.

        Args:
          model_dir: a run's MODEL_DIR.
          checkpoint: "best", "last" or a step.
          repeats: whether items of the history may be recommended again.
          most_items: the most that one request may ask for.
          data_dir: where its prepared dataset lies; None for where the run had it.
          modules: the user's own, whose code the run needs and may run.
          model_alone: whether the prior that the run was evaluated with (`trainer/fusion.py`) is
            left out.

        Raises:
          UserError: no run is there, it was not trained on a retrieval task, or its config holds
            more than settings that are values.
        """
        self._experiment = load_run(model_dir, data_dir=data_dir, modules=modules)
        self._repeats = repeats
        self._most_items = most_items
        with self._experiment.surroundings.entered():
            self._open(self._experiment, checkpoint, model_alone)

    def _open(self, experiment: Experiment, checkpoint: str | int, model_alone: bool) -> None:
        setup.prepare(experiment)
        directory = experiment.directory
        # A run on a slice may be asked on one device.
        partitions = math.gcd(experiment.num_partitions, len(jax.devices()))
        self._mesh = partitioning.make_mesh(partitions)
        checkpoints = Checkpoints(directory, read_only=True)
        try:
            self.step, self._params = checkpoints.restore_params(
                checkpoint, sharded_params_shape(experiment.config, self._mesh)
            )
        finally:
            checkpoints.close()
        task = _retrieval_task(experiment.mixture_or_task_name)
        provenance.check_used(directory, provenance.origin(experiment, [task]))
        self._catalogue = task.source.open().catalogue
        self._index_of_raw_id = {raw: i for i, raw in enumerate(self._catalogue.raw_ids)}
        samples = task.samples("test", experiment.task_feature_lengths)
        self._history_length = samples.settings.history_length
        self._prompt = _prompts(samples)
        self._trie = answer_trie(task)
        self._weights = None if model_alone else self._weights_of(directory, task.name)
        if (joined := self._weights) is not None:
            self._joining = fusion.Joining(
                joined.prior, task.source.open(), joined.candidates, joined.settings
            )
        every_item_1xN = jnp.arange(len(self._catalogue.ids))[jnp.newaxis]
        self._index_of_tokens = {
            tokens.tobytes(): index
            for index, tokens in enumerate(np.asarray(self._trie.tokens(every_item_1xN)[0]))
        }

    def recommend(
        self, history: Sequence[str], k: int = 10, only: Sequence[str] | None = None
    ) -> list[Recommendation]:
        """The k most likely next items, the most likely first.

        Args:
          history: IDs of the catalogue ("I12", "id:I12") or of the raw log ("B00X", "raw:B00X"),
            the oldest first. The newest that fit into the window are shown to the model.
          k: how many items; fewer come back where fewer are allowed.
          only: the IDs to choose from; None for the whole catalogue.

        Raises:
          UserError: an ID that no item has, or that two have; an empty history; or more items than
            are allowed.
        """
        if not history:
            raise UserError("an empty history: at least one item is needed")
        if len(history) > _MOST_HISTORY:
            raise UserError(f"a history of {len(history):,} items: at most {_MOST_HISTORY:,}")
        if only is not None and not only:
            raise UserError("no items to choose from: the list of allowed IDs is empty")
        items = [self._index(item, "history") for item in history]
        allowed = None if only is None else [self._index(item, "the allowed IDs") for item in only]
        with self._experiment.surroundings.entered():
            return self._search(items, self._inputs(items), self._pool(items, allowed), k)

    def warm_up(self, k: int = 10) -> int:
        """Compiles what requests for up to k items need; returns for how many prompt lengths."""
        lengths = bucket_lengths(self._experiment.task_feature_lengths["inputs"])
        with self._experiment.surroundings.entered():
            self._inputs([0])
            for length in lengths:
                inputs_BxL = self._on_each_device(np.ones((1, length), np.int32))
                self._search([0], inputs_BxL, self._pool([0], None), k)
        return len(lengths)

    def _search(
        self,
        items: Sequence[int],
        inputs_BxL: Int[np.ndarray, "B L"],
        pool_N: Int[np.ndarray, " N"],
        k: int,
    ) -> list[Recommendation]:
        wanted = min(k, int(np.count_nonzero(pool_N >= 0)))
        if wanted > self._most_items:
            raise UserError(
                f"k = {k}: one request may ask for {self._most_items:,} items (--most_items), "
                "because memory and time grow with the square of k"
            )
        beam_size = _beams_for(wanted)
        if self._weights is None:
            found, _ = self._decode(inputs_BxL, pool_N, None, beam_size)
        else:
            scores = self._joining.scores(items)
            best_C = self._joining.best_allowed(scores, pool_N, beam_size)
            beams, scored = self._decode(inputs_BxL, pool_N, best_C, beam_size)
            found = self._joining.joined(beams, scored, scores, self._weights)
        return [self._recommendation(*pair) for pair in list(found.items())[:k]]

    def _decode(
        self,
        inputs_BxL: Int[np.ndarray, "B L"],
        pool_N: Int[np.ndarray, " N"],
        scored_C: Int[np.ndarray, " C"] | None,
        beam_size: int,
    ) -> tuple[dict[int, float], dict[int, float]]:
        """{item: log-probability} of the beams, best first, and of the items to be scored."""
        # Without the length penalty, which would favour items whose IDs have more tokens.
        decoder = BeamDecoder(self._experiment.config, self._mesh, beam_size, alpha=0.0)
        started = decoder.start(
            self._params,
            inputs_BxL,
            (POOL,) if scored_C is None else (POOL, EXACT),
            max_decode_len=self._trie.depth,
            trie=self._trie,
            pool_BxC=np.tile(pool_N, (len(inputs_BxL), 1)),
            scored_BxC=None if scored_C is None else np.tile(scored_C, (len(inputs_BxL), 1)),
        )
        decoded = fetch(started)
        beams = decoded.beams[POOL]
        best_first = zip(beams.tokens_BxKxT[0][::-1], beams.log_probs_BxK[0][::-1], strict=True)
        found = {
            self._index_of_tokens[tokens.tobytes()]: float(log_prob)
            for tokens, log_prob in best_first
            if tokens.any()  # the last ones are fillers where there are fewer items than beams
        }
        if scored_C is None or decoded.exact_BxC is None:
            return found, {}
        return found, dict(zip(scored_C.tolist(), decoded.exact_BxC[0].tolist(), strict=True))

    def _weights_of(self, directory: epath.Path, task: str) -> fusion.Weights | None:
        """How a prior joins this checkpoint; None where none does."""
        weights = fusion.read(directory).get(task)
        if weights is None or weights.weight == 0:
            return None
        measured_at = weights.made_with.get("checkpoint_step")
        if measured_at != self.step:
            say(
                f"{directory / fusion.FILE} is of step {measured_at}, this is step {self.step}:"
                " the model answers alone; evaluate again to join it with a prior"
            )
            return None
        return weights

    def _recommendation(self, index: int, log_prob: float) -> Recommendation:
        catalogue = self._catalogue
        return Recommendation(
            catalogue.ids[index],
            catalogue.raw_ids[index],
            catalogue.titles[index],
            float(np.exp(log_prob)),
            log_prob,
        )

    def _pool(self, history: Sequence[int], allowed: Sequence[int] | None) -> np.ndarray:
        """The items that may be answered, int32 [N], as long as the catalogue, filled with -1."""
        pool = np.arange(len(self._catalogue.ids), dtype=np.int32)
        if allowed is not None:
            pool = np.where(np.isin(pool, allowed), pool, -1)
        if not self._repeats:
            pool[list(history)] = -1
        return pool

    def _index(self, item: str, where: str) -> int:
        """The item that an ID can only mean: the catalogue's (`id:I3`) or the log's (`raw:I3`)."""
        by_id, by_raw = self._catalogue.indices, self._index_of_raw_id
        meant = {by_id.get(item), by_raw.get(item)}
        for prefix, indices in (("id:", by_id), ("raw:", by_raw)):
            if item.startswith(prefix):
                meant.add(indices.get(item.removeprefix(prefix)))
        meant.discard(None)
        if len(meant) > 1:
            raise UserError(
                f"{where}: {item!r} is the ID of one item in the catalogue and of another in the "
                f"log: say id:{item} or raw:{item}"
            )
        for index in meant:
            return index
        try:
            return self._catalogue.index_of(item)
        except UserError as error:
            raise UserError(f"{where}: {error}, and the log has no such item") from error

    def _inputs(self, items: Sequence[int]) -> Int[np.ndarray, "B L"]:
        """The retrieval prompt of a history, once a device, padded to a compiled length."""
        newest = list(items)[-self._history_length :]
        absent = [ABSENT] * (self._history_length - len(newest))
        tokens = self._prompt(np.array([absent + newest], np.int32))
        longest = self._experiment.task_feature_lengths["inputs"]
        length = next(length for length in bucket_lengths(longest) if length >= len(tokens))
        padded = np.pad(tokens, (0, length - len(tokens))).astype(np.int32)
        return self._on_each_device(padded[np.newaxis])

    def _on_each_device(self, inputs_1xL: np.ndarray) -> np.ndarray:
        return np.tile(inputs_1xL, (self._mesh.shape[partitioning.DATA], 1))


def _prompts(samples: Samples) -> Callable[[Int[np.ndarray, "1 W"]], Int[np.ndarray, " n"]]:
    """Makes the tokens of a retrieval prompt out of a history's window.

    One graph, traced once: as single operations a prompt would take longer than its decoding.
    """
    width = samples.settings.history_length

    @tf.function(input_signature=[tf.TensorSpec([1, width], tf.int32)], autograph=False)
    def prompt(history_1xW: tf.Tensor) -> tf.Tensor:
        return samples.of_histories(history_1xW)["inputs"][0]

    return lambda history_1xW: prompt(tf.constant(history_1xW)).numpy()


def read_ids(file: str | os.PathLike) -> list[str]:
    """The IDs of a file that holds one a line."""
    path = epath.Path(file)
    if not path.exists():
        raise UserError(f"{path}: no such file of allowed IDs")
    return [line.strip() for line in path.read_text().splitlines() if line.strip()]


def _beams_for(k: int) -> int:
    """20, 40, 80, …: few numbers of beams are compiled, whatever is asked for."""
    beams = _LEAST_BEAMS
    while beams < k:
        beams *= 2
    return beams


def _retrieval_task(mixture_or_task_name: str) -> RecommendationTask:
    provider = seqio.get_mixture_or_task(mixture_or_task_name)
    for task in seqio.get_subtasks(provider):
        if isinstance(task, RecommendationTask) and task.kind == "retrieval":
            return task
    raise UserError(
        f"the run was trained on {mixture_or_task_name}, which has no retrieval task to "
        "recommend by"
    )
