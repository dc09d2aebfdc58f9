"""Which candidates can still be among the k likeliest, while their log-probabilities are added up.

A candidate's probability is joined with a prior's: (1 - w) P_model + w P_prior. What a network's
`step_log_probs` hands out is <= 0, so each token can only lower P_model, and what was read of a
candidate so far bounds it from above. The k-th likeliest item is bounded from below by the beams,
whose probabilities are known, and by the prior alone. All is divided by 1 - w here.

Shape letters as in `recalign.model.score`.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from recalign.model.decode import NO_BEAM, Beams

# A candidate that is below the k-th likeliest by less is kept. A sum in float32 rounds by 6e-8 of
# |log P| at each token: far less than this up to some thousands, where P is 0 in float64 too.
_SLACK = 1e-3


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Contest:
    """What the candidates of `score_candidates` compete by."""

    log_prior_BxC: Float[Array, "B C"]  # log(w P_prior / (1 - w)); -1e7 where that is 0
    wanted_B: Int[Array, " B"]  # k, from 1 to the number of beams: how many items are answered
    beams: Beams  # what the search found for the same inputs in the same trie

    def can_enter(
        self,
        log_probs_BxC: Float[Array, "B C"],
        log_prior_BxC: Float[Array, "B C"],
        least_B: Float[Array, " B"],
    ) -> Bool[Array, "B C"]:
        """Which candidates may be among the k likeliest, where the model gives them no more than
        `log_probs_BxC`, that of the tokens that were read; for the others see `meet`."""
        return jnp.logaddexp(log_probs_BxC, log_prior_BxC) > least_B[:, None] - _SLACK

    def meet(
        self, tokens_BxCxT: Int[Array, "B C T"], log_prior_BxC: Float[Array, "B C"]
    ) -> tuple[Float[Array, "B C"], Float[Array, " B"]]:
        """The beams and the candidates, all 0 for a filler, as one list of items.

        Returns the log-probability of each candidate that is a beam, -1e7 of all others; and
        least_B, a lower bound on the logarithm of the k-th likeliest item's joined probability.
        """
        beams = self.beams
        is_beam_BxKxC = jnp.all(beams.tokens_BxKxT[:, :, None] == tokens_BxCxT[:, None], axis=-1)
        known_BxC = jnp.max(
            jnp.where(is_beam_BxKxC, beams.log_probs_BxK[..., None], NO_BEAM), axis=1
        )
        # Of a beam that is no candidate the prior is not known: it is 0 at least.
        prior_BxK = jnp.max(jnp.where(is_beam_BxKxC, log_prior_BxC[:, None], NO_BEAM), axis=2)
        beams_BxK = jnp.logaddexp(beams.log_probs_BxK, prior_BxK)
        others_BxC = jnp.where(jnp.any(is_beam_BxKxC, axis=1), NO_BEAM, log_prior_BxC)
        ascending = jnp.sort(jnp.concatenate([beams_BxK, others_BxC], axis=1), axis=1)
        least_Bx1 = jnp.take_along_axis(
            ascending, ascending.shape[1] - self.wanted_B[:, None], axis=1
        )
        return known_BxC, least_Bx1[:, 0]
