"""What the rest of recalign asks of a network."""

import abc
import functools
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from recalign.model.output import log_probs_at


class Network(abc.ABC):
    """A network, as trainer, decoders, planner and weights see it; T5 is one of them.

    A network is a frozen dataclass of its sizes and switches, and holds no arrays: it can be a
    static argument of `jax.jit`, gin configures it by its class's name, and `Experiment.network`
    hands it out. To add one, write a folder beside `t5/` and name its class in
    `recalign.model.NETWORKS`, or a module of your own that an experiment imports
    (`tests/examples/decoder_only.py`):

        import my_network
        Experiment.model = @my_network.Mine()

    Parameters are nested mappings of float32 arrays. Their names say how they are treated:

      layers/…                               stacked layers, the first axis counts them
      …/scale                                not decayed
      {query,key,value,wi_0,wi_1,logits_dense}/kernel [in, out]     spread over devices by columns
      {out,wo}/kernel [in, out], rel_embedding [heads, …]           spread by rows
      token_embedder/embedding [V, D]        spread by rows; every network has it

    Shape letters: B examples, L input length, T target length, V vocabulary, K beams.

    Attributes:
      vocab_size: V. Token 0 is padding and what comes before the first target.
      dropout_rate: of training; the experiment sets it.
      remat: what backpropagation computes again: False, True, or the name of a policy of
        `jax.checkpoint_policies`; the planner tries them.
      activation_dtype: what it computes in.
      size_name: for the report, such as "xl"; "" where the field has no name for these sizes.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
    vocab_size: int
    dropout_rate: float
    remat: bool | str

    @property
    def activation_dtype(self) -> jnp.dtype:
        return jnp.dtype("float32")

    @property
    def size_name(self) -> str:
        return ""

    @abc.abstractmethod
    def init(self, key: Array) -> Any:
        """Random start weights."""

    def params_shape(self) -> Any:
        """The parameters as shapes, without computing any."""
        return _params_shape(self)

    @abc.abstractmethod
    def logits(
        self, params: Any, batch: Mapping[str, Int[Array, "B _"]], dropout_key: Array | None
    ) -> Float[Array, "B T V"]:
        """Logits of every target token, each given the inputs and the targets before it.

        `batch`: `inputs` [B, L] and `targets` [B, T], padded on the right with 0. Rows that hold
        several examples have `inputs_segment_ids` and `targets_segment_ids` too: 1, 2, … for the
        examples, 0 for padding. Each example is to see itself alone. `dropout_key`: None for none.
        """

    @abc.abstractmethod
    def start(
        self, params: Any, inputs_BxL: Int[Array, "B L"], beams: int, max_decode_len: int
    ) -> tuple[Any, Any]:
        """Reads the inputs, padded on the right with 0, once for all beams and steps.

        `beams`: the most that an example will have; it begins with one. `max_decode_len`: the most
        steps that will be taken. Returns (memory, cache), trees of arrays: what no step changes,
        and what each step writes.
        """

    @abc.abstractmethod
    def step(
        self, params: Any, memory: Any, cache: Any, tokens_BxK: Int[Array, "B K"], position: Array
    ) -> tuple[Float[Array, "B K V"], Any]:
        """One decoding step: each beam reads its newest token (at first 0) at `position`, 0, 1, ….

        Returns the logits of each beam's next token, and the cache.
        """

    def step_log_probs(
        self,
        params: Any,
        memory: Any,
        cache: Any,
        tokens_BxK: Int[Array, "B K"],
        position: Array,
        next_BxKxM: Int[Array, "B K M"],
        wanted_BxK: Bool[Array, "B K"] | None = None,
    ) -> tuple[Float[Array, "B K M"], Any]:
        """A `step` of which M next tokens a beam are wanted: what a search in a trie asks for.

        Returns their log-probabilities, normalised over the vocabulary and hence <= 0 (a contest
        relies on it), and the cache of all beams. Beams that are not wanted may have any
        log-probabilities up to 0: only `score_candidates` with a contest (a prior's items) says
        which are. A network need not have it; one that does can do without an array of all logits.
        """
        logits_BxKxV, cache = self.step(params, memory, cache, tokens_BxK, position)
        return log_probs_at(logits_BxKxV, next_BxKxM), cache

    @abc.abstractmethod
    def reorder(self, cache: Any, beams_BxK: Int[Array, "B K"]) -> Any:
        """The cache in which beam k goes on where `beams[k]` stands; K may change."""


@functools.lru_cache(maxsize=16)  # a run asks three times, and tracing takes a second of it
def _params_shape(network: Network) -> Any:
    return jax.eval_shape(lambda: network.init(jax.random.key(0)))


def shift_right(
    targets: Int[Array, "*rows T"], segment_ids: Int[Array, "*rows T"] | None = None
) -> Int[Array, "*rows T"]:
    """What a decoder reads: token 0, then all targets but the last; so each example of a row."""

    def shifted(rows: Int[Array, "*rows T"]) -> Int[Array, "*rows T"]:
        return jnp.pad(rows[..., :-1], [(0, 0)] * (rows.ndim - 1) + [(1, 0)])

    if segment_ids is None:
        return shifted(targets)
    return jnp.where(segment_ids == shifted(segment_ids), shifted(targets), 0)
