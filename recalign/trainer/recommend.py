"""Recommending from a trained run: a history of items -> the most likely next items."""

import collections
import itertools
import math
import os
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Int

from recalign.data import integrity
from recalign.data.new_items import ItemFile, with_new_items
from recalign.data.prepared import PreparedDataset
from recalign.errors import UserError
from recalign.preprocessors.windows import ABSENT
from recalign.trainer import fusion, partitioning, provenance, setup
from recalign.trainer.checkpoints import restored_params
from recalign.trainer.decoding import bucket_lengths, one_ahead
from recalign.trainer.evaluation import answer_trie
from recalign.trainer.experiment import Experiment
from recalign.trainer.history_prompts import history_task, names_users, prompts_of
from recalign.trainer.item_index import NOBODY, ItemIndex, Query
from recalign.trainer.item_search import ItemSearch, beams_for
from recalign.trainer.run_config import load_run

MOST_ITEMS = 200
"""The most items that a request may ask for: memory and time grow with the square of the beams."""
LARGEST_BATCH = 64
"""Requests that are decoded together, at most, where nothing else is said."""
MOST_HISTORY = 10_000
"""The most items of a request's history."""


class Recommendation(NamedTuple):
    """An item, with the probability that it is the next (`score`) and its natural logarithm.

    `untrained`: whether it came after training; its probability is that of what its text is like.
    """

    id: str
    raw_id: str
    title: str
    score: float
    log_prob: float
    untrained: bool = False


_Wait = Callable[[], list[list[Recommendation]]]


class Recommender:
    """A run's model with its catalogue, kept in memory between requests; threads may share it.

    A request's history and allowed items are values, not shapes: requests compile nothing after
    `warm_up`, unless one asks for more items than any before.

    Attributes:
      step: of the checkpoint.
      dataset: the prepared dataset that the run was trained on, new items after its own.
      trained_items: how many items are the dataset's own, the first ones of the catalogue.
      new_items: digest of the others, which came after training; None where there are none.
      notices: lines for a person about these.
      items: what IDs of items mean.
      weights: how a prior joins the model; None where none does.
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
        new_items: ItemFile | str | os.PathLike | None = None,
    ):
        """Loads a run.

        Args:
          model_dir: a run's MODEL_DIR.
          checkpoint: "best", "last" or a step.
          repeats: whether items of the history may be recommended again.
          most_items: the most that one request may ask for.
          largest_batch: the most requests that a device decodes together.
          data_dir: of its prepared dataset; None for where the run had it.
          modules: the user's own, whose code the run needs and may run.
          model_alone: leave out the prior that the run was evaluated with (`trainer/fusion.py`).
          new_items: items that came after training; the dataset has to have semantic IDs.
        """
        self._experiment = load_run(model_dir, data_dir=data_dir, modules=modules)
        self.repeats = repeats
        self._most_items = most_items
        self.largest_batch = largest_batch
        with self._experiment.surroundings.entered():
            self._open(self._experiment, checkpoint, model_alone, new_items)

    def _open(
        self,
        experiment: Experiment,
        checkpoint: str | int,
        model_alone: bool,
        new_items: ItemFile | str | os.PathLike | None,
    ) -> None:
        setup.prepare(experiment)
        directory = experiment.directory
        # A run on a slice may be asked on one device.
        mesh = partitioning.make_mesh(math.gcd(experiment.num_partitions, len(jax.devices())))
        self.step, params = restored_params(directory, checkpoint, experiment.network, mesh)
        task = history_task(experiment.mixture_or_task_name)
        self.made_from = provenance.origin(experiment, [task])
        provenance.check_used(directory, self.made_from)
        trained_on: PreparedDataset = task.source.open()
        self.trained_items = len(trained_on.catalogue)
        self.dataset = trained_on
        self.new_items: str | None = None
        self.notices: list[str] = []
        if new_items is not None:
            self.dataset, self.notices = with_new_items(trained_on, new_items)
            new = self.dataset.catalogue.table.slice(self.trained_items)
            self.new_items = integrity.digest_of_json(new.to_pylist())
        self._catalogue = self.dataset.catalogue
        self.items = ItemIndex(self._catalogue, self.dataset.ids_alike)
        self.names_users = names_users(task)
        users = self.dataset.sequences("train").users if self.names_users else []
        self._row_of_user = {user: row for row, user in enumerate(users)}
        samples = task.samples("test", experiment.task_feature_lengths, dataset=self.dataset)
        self._history_length = samples.settings.history_length
        self._prompt = prompts_of(samples)
        trie = answer_trie(task, self._catalogue.ids)
        self._searching = ItemSearch(params, experiment.network, mesh, trie, self.largest_batch)
        self.weights = None if model_alone else fusion.weights_at(directory, task.name, self.step)
        if (joined := self.weights) is not None:
            self._joining = fusion.Joining(
                joined.prior, trained_on, joined.candidates, joined.settings
            )

    def recommend(
        self,
        history: Sequence[str],
        k: int = 10,
        only: Sequence[str] | None = None,
        *,
        exclude: Sequence[str] = (),
        user: str | None = None,
        untrained: bool = True,
    ) -> list[Recommendation]:
        """The k most likely next items, the most likely first.

        Args:
          history: IDs of the catalogue ("I12", "id:I12") or of the raw log ("B00X", "raw:B00X"),
            the oldest first. The newest that fit into the window are shown to the model.
          k: how many items; fewer come back where fewer are allowed.
          only: the IDs to choose from; None for the whole catalogue.
          exclude: IDs that are not to be answered.
          user: the raw ID of whom the history is; it matters where the model is told (P5's tasks).
          untrained: whether items that came after training may be answered.

        Refused are an ID that no item has, or two, an empty history, and more items than may be
        asked.
        """
        query = self.query(history, k, only, exclude=exclude, user=user, untrained=untrained)
        return self.answer([query])[0]

    def recommend_many(
        self,
        histories: Sequence[Sequence[str]],
        k: int = 10,
        only: Sequence[str] | None = None,
        *,
        exclude: Sequence[str] = (),
        untrained: bool = True,
    ) -> list[list[Recommendation]]:
        """What `recommend` says of each history, decoded together; for the arguments see there."""
        allowed = None if only is None else self.items.subset(only)
        return self.answer(
            [self.query(h, k, allowed, exclude=exclude, untrained=untrained) for h in histories]
        )

    def query(
        self,
        history: Sequence[str],
        k: int = 10,
        only: Sequence[str] | Bool[np.ndarray, " N"] | None = None,
        *,
        exclude: Sequence[str] = (),
        user: str | None = None,
        untrained: bool = True,
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
        if not untrained and self.trained_items < len(self._catalogue):
            trained = np.arange(len(self._catalogue)) < self.trained_items
            allowed = trained if allowed is None else allowed & trained
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
        """A request in numbers of the catalogue; k of at most `most_items`."""
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

        Requests for like numbers of items are decoded together, sorted by their prompts' lengths.
        An answer does not depend on the others, but for the last digits of its probabilities.

        Prompts are padded to one of `lengths`, ascending; None for those that `warm_up` compiles.
        """
        answers: list[list[Recommendation]] = [[] for _ in queries]
        with self._experiment.surroundings.entered():
            asked = [number for number, query in enumerate(queries) if query.wanted]
            prompts = dict(zip(asked, self._prompts([queries[n] for n in asked]), strict=True))
            by_beams: dict[int, list[int]] = collections.defaultdict(list)
            for number in sorted(asked, key=lambda number: -len(prompts[number])):
                by_beams[beams_for(queries[number].wanted)].append(number)
            # The longest first: the last batch, which is filled up, is of the shortest.
            batches = [
                (beam_size, numbers[start : start + self.largest_batch])
                for beam_size, numbers in sorted(by_beams.items())
                for start in range(0, len(numbers), self.largest_batch)
            ]

            def start(beam_size: int, together: Sequence[int]) -> _Wait:
                its_prompts = [prompts[n] for n in together]
                length = self._padded_length(len(its_prompts[0]), lengths)
                return self._start([queries[n] for n in together], its_prompts, length, beam_size)

            for together, wait in one_ahead((batch[1], start(*batch)) for batch in batches):
                for number, items in zip(together, wait(), strict=True):
                    answers[number] = items
        return answers

    def prompt_lengths(self, queries: Sequence[Query]) -> Int[np.ndarray, " Q"]:
        """The number of tokens of each prompt."""
        with self._experiment.surroundings.entered():
            return np.array([len(tokens) for tokens in self._prompts(queries)], np.int64)

    @property
    def longest_prompt(self) -> int:
        """The most tokens that a prompt has."""
        return self._experiment.task_feature_lengths["inputs"]

    def warm_up(
        self, k: int = 10, *, together: bool = False, until: Callable[[], bool] = lambda: False
    ) -> int:
        """Compiles what requests for up to k items need; returns for how many prompt lengths.

        `together`: whether `answer` will be given several requests, up to the largest batch.
        `until` ends it early where it is true, before another program.
        """
        lengths = bucket_lengths(self.longest_prompt)
        query = self.query_of([0], k)
        with self._experiment.surroundings.entered():
            self._prompts([query])
            for length in lengths:
                for count in self._searching.batch_sizes if together else [1]:
                    if until():
                        return 0
                    prompts = [np.ones(length, np.int32)] * count
                    self._start([query] * count, prompts, length, beams_for(query.wanted))()
        return len(lengths)

    def _start(
        self,
        queries: Sequence[Query],
        prompts: Sequence[Int[np.ndarray, " n"]],
        length: int,
        beam_size: int,
    ) -> _Wait:
        """Sets the device to work. What comes back waits for it, and says what may be answered to
        each query, the most likely first."""
        weights, candidates = self.weights, None
        if weights is not None:
            # The prior knows the items that it was made of.
            histories = [[n for n in it.history if n < self.trained_items] for it in queries]
            masks = [query.mask(len(self._catalogue)) for query in queries]
            candidates = self._joining.candidates_of(histories, masks, beam_size, weights)
        started = self._searching.start(prompts, queries, candidates, length, beam_size)

        def wait() -> list[list[Recommendation]]:
            found = self._searching.wait(started)
            if candidates is None or weights is None:
                log_probs = [beams for beams, _ in found]
            else:
                pairs = zip(candidates, found, strict=True)
                log_probs = [of_prior.joined(*its_found, weights) for of_prior, its_found in pairs]
            return [
                [self._recommendation(*it) for it in itertools.islice(its.items(), query.wanted)]
                for its, query in zip(log_probs, queries, strict=True)
            ]

        return wait

    def _recommendation(self, index: int, log_prob: float) -> Recommendation:
        catalogue = self._catalogue
        return Recommendation(
            catalogue.ids[index],
            catalogue.raw_ids[index],
            catalogue.titles[index],
            float(np.exp(log_prob)),
            log_prob,
            index >= self.trained_items,
        )

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
