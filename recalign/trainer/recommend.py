"""Recommending from a trained run: a history of items -> the most likely next items."""

import collections
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int

from recalign.data.prepared import PreparedDataset
from recalign.errors import UserError
from recalign.preprocessors.windows import ABSENT
from recalign.trainer import fusion, partitioning, provenance, setup
from recalign.trainer.checkpoints import Checkpoints
from recalign.trainer.decoding import EXACT, POOL, BeamDecoder, bucket_lengths, fetch, filled_up
from recalign.trainer.evaluation import answer_trie
from recalign.trainer.experiment import Experiment
from recalign.trainer.history_prompts import history_task, names_users, prompts_of
from recalign.trainer.item_index import NOBODY, ItemIndex, Query
from recalign.trainer.run_config import load_run
from recalign.trainer.state import sharded_params_shape

# Fewer beams than this would miss good items.
_LEAST_BEAMS = 20
MOST_ITEMS = 200
"""The most items that a request may ask for: memory and time grow with the square of the beams."""
LARGEST_BATCH = 64
"""Requests that are decoded together, at most, where nothing else is said."""
MOST_HISTORY = 10_000
"""The most items of a request's history."""


class Recommendation(NamedTuple):
    """An item, with the probability that it is the next (`score`) and its natural logarithm."""

    id: str
    raw_id: str
    title: str
    score: float
    log_prob: float


class Recommender:
    """A run's model with its catalogue, kept in memory between requests; threads may share it.

    A request's history and allowed items are values, not shapes: requests compile nothing after
    `warm_up`, unless one asks for more items than any before.

    Attributes:
      step: of the checkpoint.
      dataset: the prepared dataset that the run was trained on.
      items: what IDs of items mean.
      weights: how a prior joins the model; None where none does.
      largest_batch: the most requests that a device decodes together.
      names_users: whether the model is told whom a history is of.
    """

    def __init__(
        self,
        model_dir: str | os.PathLike,
        checkpoint: str | int = "best",
        *,
        repeats: bool = False,
        most_items: int = MOST_ITEMS,
        largest_batch: int = LARGEST_BATCH,
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
            weights: how a prior joins the model; None where none does.
        largest_batch: the most requests that a device decodes together.
            data_dir: where its prepared dataset lies; None for where the run had it.
            modules: the user's own, whose code the run needs and may run.
            model_alone: whether the prior that the run was evaluated with (`trainer/fusion.py`) is
              left out.

          Raises:
            UserError: no run is there, none of its tasks answers a history with an item, or its
              config holds more than settings that are values.
        """
        self._experiment = load_run(model_dir, data_dir=data_dir, modules=modules)
        self.repeats = repeats
        self._most_items = most_items
        self.largest_batch = largest_batch
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
        task = history_task(experiment.mixture_or_task_name)
        self.made_from = provenance.origin(experiment, [task])
        provenance.check_used(directory, self.made_from)
        self.dataset: PreparedDataset = task.source.open()
        self._catalogue = self.dataset.catalogue
        self.items = ItemIndex(self._catalogue)
        self.names_users = names_users(task)
        users = self.dataset.sequences("train").users if self.names_users else []
        self._row_of_user = {user: row for row, user in enumerate(users)}
        samples = task.samples("test", experiment.task_feature_lengths)
        self._history_length = samples.settings.history_length
        self._prompt = prompts_of(samples)
        self._trie = answer_trie(task)
        self.weights = None if model_alone else fusion.weights_at(directory, task.name, self.step)
        if (joined := self.weights) is not None:
            self._joining = fusion.Joining(
                joined.prior, self.dataset, joined.candidates, joined.settings
            )
        every_item_1xN = jnp.arange(len(self._catalogue.ids))[jnp.newaxis]
        self._index_of_tokens = {
            tokens.tobytes(): index
            for index, tokens in enumerate(np.asarray(self._trie.tokens(every_item_1xN)[0]))
        }

    def recommend(
        self,
        history: Sequence[str],
        k: int = 10,
        only: Sequence[str] | None = None,
        *,
        exclude: Sequence[str] = (),
        user: str | None = None,
    ) -> list[Recommendation]:
        """The k most likely next items, the most likely first.

        Args:
          history: IDs of the catalogue ("I12", "id:I12") or of the raw log ("B00X", "raw:B00X"),
            the oldest first. The newest that fit into the window are shown to the model.
          k: how many items; fewer come back where fewer are allowed.
          only: the IDs to choose from; None for the whole catalogue.
          exclude: IDs that are not to be answered.
          user: the raw ID of whom the history is; it matters where the model is told (P5's tasks).

        Raises:
          UserError: an ID that no item has, or that two have; an empty history; or more items than
            are allowed.
        """
        return self.answer([self.query(history, k, only, exclude=exclude, user=user)])[0]

    def recommend_many(
        self,
        histories: Sequence[Sequence[str]],
        k: int = 10,
        only: Sequence[str] | None = None,
        *,
        exclude: Sequence[str] = (),
    ) -> list[list[Recommendation]]:
        """What `recommend` says of each history, decoded together; for the arguments see there."""
        allowed = None if only is None else self.items.subset(only)
        return self.answer([self.query(h, k, allowed, exclude=exclude) for h in histories])

    def query(
        self,
        history: Sequence[str],
        k: int = 10,
        only: Sequence[str] | Bool[np.ndarray, " N"] | None = None,
        *,
        exclude: Sequence[str] = (),
        user: str | None = None,
    ) -> Query:
        """Understands a request; for the arguments and errors see `recommend`.

        `only` may also be what `items.subset` made, which is quick.
        """
        if not history:
            raise UserError("an empty history: at least one item is needed")
        if len(history) > MOST_HISTORY:
            raise UserError(f"a history of {len(history):,} items: at most {MOST_HISTORY:,}")
        items = [self.items.index(item, "history") for item in history]
        allowed = only if only is None or isinstance(only, np.ndarray) else self.items.subset(only)
        left_out = [self.items.index(item, "exclude") for item in exclude]
        row = self._row_of_user.get(user, NOBODY) if user is not None else NOBODY
        return self.query_of(items, k, allowed, left_out, row)

    def query_of(
        self,
        history: Sequence[int],
        k: int,
        allowed: Bool[np.ndarray, " N"] | None = None,
        exclude: Iterable[int] = (),
        row: int = NOBODY,
    ) -> Query:
        """A request in numbers of the catalogue.

        Raises:
          UserError: k is more than a request may ask for.
        """
        left_out = np.unique([*([] if self.repeats else history), *exclude]).astype(np.int64)
        if allowed is None:
            choice = len(self._catalogue.ids) - len(left_out)
        else:
            choice = int(np.count_nonzero(allowed)) - int(np.count_nonzero(allowed[left_out]))
        wanted = min(k, choice)
        if wanted > self._most_items:
            raise UserError(
                f"k = {k}: one request may ask for {self._most_items:,} items (--most_items), "
                "because memory and time grow with the square of k"
            )
        return Query(history, left_out, allowed, wanted, row)  # type: ignore[arg-type]

    def answer(
        self, queries: Sequence[Query], lengths: Sequence[int] | None = None
    ) -> list[list[Recommendation]]:
        """The items of each request, the most likely first.

        Requests for like numbers of items with prompts of like lengths are decoded together. An
        answer does not depend on the others, but for the last digits of its probabilities.

        Args:
          queries: of any number.
          lengths: that prompts are padded to, ascending; None for those that `warm_up` compiles.
        """
        answers: list[list[Recommendation]] = [[] for _ in queries]
        with self._experiment.surroundings.entered():
            asked = [number for number, query in enumerate(queries) if query.wanted]
            prompts = dict(zip(asked, self._prompts([queries[n] for n in asked]), strict=True))
            groups: dict[tuple[int, int], list[int]] = collections.defaultdict(list)
            for number in asked:
                length = self._padded_length(len(prompts[number]), lengths)
                groups[_beams_for(queries[number].wanted), length].append(number)
            for (beam_size, length), numbers in sorted(groups.items()):
                for start in range(0, len(numbers), self.largest_batch):
                    together = numbers[start : start + self.largest_batch]
                    found = self._search(
                        [queries[n] for n in together],
                        [prompts[n] for n in together],
                        length,
                        beam_size,
                    )
                    for number, items in zip(together, found, strict=True):
                        answers[number] = items[: queries[number].wanted]
        return answers

    def prompt_lengths(self, queries: Sequence[Query]) -> Int[np.ndarray, " Q"]:
        """The number of tokens of each prompt."""
        with self._experiment.surroundings.entered():
            return np.array([len(tokens) for tokens in self._prompts(queries)], np.int64)

    @property
    def longest_prompt(self) -> int:
        """The most tokens that a prompt has."""
        return self._experiment.task_feature_lengths["inputs"]

    def warm_up(self, k: int = 10, *, together: bool = False) -> int:
        """Compiles what requests for up to k items need; returns for how many prompt lengths.

        Args:
          k: the most that will be asked for.
          together: whether `answer` will be given several requests, up to the largest batch.
        """
        lengths = bucket_lengths(self.longest_prompt)
        query = self.query_of([0], k)
        with self._experiment.surroundings.entered():
            self._prompts([query])
            for length in lengths:
                for count in self._batch_sizes() if together else [1]:
                    prompts = [np.ones(length, np.int32)] * count
                    self._search([query] * count, prompts, length, _beams_for(query.wanted))
        return len(lengths)

    def _batch_sizes(self) -> list[int]:
        """1, 4, 16, … and the largest batch: few sizes are compiled, whatever comes together."""
        sizes = [1]
        while sizes[-1] < self.largest_batch:
            sizes.append(min(sizes[-1] * 4, self.largest_batch))
        return sizes

    def _search(
        self,
        queries: Sequence[Query],
        prompts: Sequence[Int[np.ndarray, " n"]],
        length: int,
        beam_size: int,
    ) -> list[list[Recommendation]]:
        """What may be answered to each query, the most likely first; `beam_size` items or more."""
        pools = [self._pool(query) for query in queries]
        if self.weights is None:
            found = [beams for beams, _ in self._decode(prompts, pools, None, length, beam_size)]
        else:
            scores = [self._joining.scores(query.history) for query in queries]
            best = [
                self._joining.best_allowed(row, pool, beam_size)
                for row, pool in zip(scores, pools, strict=True)
            ]
            decoded = self._decode(prompts, pools, best, length, beam_size)
            found = [
                self._joining.joined(beams, scored, row, self.weights)
                for (beams, scored), row in zip(decoded, scores, strict=True)
            ]
        return [[self._recommendation(*pair) for pair in items.items()] for items in found]

    def _decode(
        self,
        prompts: Sequence[Int[np.ndarray, " n"]],
        pools: Sequence[Int[np.ndarray, " N"]],
        scored: Sequence[Int[np.ndarray, " C"]] | None,
        length: int,
        beam_size: int,
    ) -> Iterator[tuple[dict[int, float], dict[int, float]]]:
        """{item: log-probability} of the beams, best first, and of the items to be scored."""
        size = next(size for size in self._batch_sizes() if size >= len(prompts))
        # Each device decodes as many.
        size *= self._mesh.shape[partitioning.DATA]
        padded = [np.pad(tokens, (0, length - len(tokens))).astype(np.int32) for tokens in prompts]
        # Without the length penalty, which would favour items whose IDs have more tokens.
        decoder = BeamDecoder(self._experiment.config, self._mesh, beam_size, alpha=0.0)
        started = decoder.start(
            self._params,
            filled_up(padded, size),
            (POOL,) if scored is None else (POOL, EXACT),
            max_decode_len=self._trie.depth,
            trie=self._trie,
            pool_BxC=filled_up(pools, size),
            scored_BxC=None if scored is None else filled_up(scored, size),
        )
        decoded = fetch(started)
        beams = decoded.beams[POOL]
        for number in range(len(prompts)):
            best_first = zip(
                beams.tokens_BxKxT[number][::-1], beams.log_probs_BxK[number][::-1], strict=True
            )
            found = {
                self._index_of_tokens[tokens.tobytes()]: float(log_prob)
                for tokens, log_prob in best_first
                if tokens.any()  # the last ones are fillers where there are fewer items than beams
            }
            if scored is None or decoded.exact_BxC is None:
                yield found, {}
            else:
                exact = decoded.exact_BxC[number].tolist()
                yield found, dict(zip(scored[number].tolist(), exact, strict=True))

    def _recommendation(self, index: int, log_prob: float) -> Recommendation:
        catalogue = self._catalogue
        return Recommendation(
            catalogue.ids[index],
            catalogue.raw_ids[index],
            catalogue.titles[index],
            float(np.exp(log_prob)),
            log_prob,
        )

    def _pool(self, query: Query) -> Int[np.ndarray, " N"]:
        """The items that may be answered, as long as the catalogue, filled with -1."""
        pool = np.arange(len(self._catalogue.ids), dtype=np.int32)
        if query.allowed is not None:
            pool = np.where(query.allowed, pool, np.int32(-1))
        pool[query.left_out] = -1
        return pool

    def _prompts(self, queries: Sequence[Query]) -> list[Int[np.ndarray, " n"]]:
        """The tokens of each request's prompt."""
        if not queries:
            return []
        width = self._history_length
        history_QxW = np.full((len(queries), width), ABSENT, np.int32)
        for number, query in enumerate(queries):
            newest = query.history[-width:]
            history_QxW[number, width - len(newest) :] = newest
        return self._prompt(history_QxW, np.array([query.row for query in queries], np.int64))

    def _padded_length(self, tokens: int, lengths: Sequence[int] | None) -> int:
        of_requests = bucket_lengths(self.longest_prompt) if lengths is None else lengths
        return next(length for length in of_requests if length >= tokens)


def _beams_for(k: int) -> int:
    """20, 40, 80, …: few numbers of beams are compiled, whatever is asked for."""
    beams = _LEAST_BEAMS
    while beams < k:
        beams *= 2
    return beams
