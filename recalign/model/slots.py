"""Keys and values of many beams that are never copied when beams are reordered.

Each step writes one slot a beam, and each beam knows the slots of its own past; it looks at all
slots of its example and masks those of others. That is a matrix product with the beams as rows,
and reads the cache once.

Shape letters as in `recalign.model.network`; N layers, H heads, C size of a head, S = T * slots.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

# Added to the scores of masked keys: large enough for a weight of exactly zero, finite so that a
# row without any valid key (padding examples) gives finite numbers.
MASKED = -1e10


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cache:
    """Keys and values of all positions that were read, those of position t in slots t * K …."""

    keys_NxBxSxHxC: Float[Array, "N B S H C"]
    values_NxBxSxHxC: Float[Array, "N B S H C"]
    slot_BxKxT: Int[Array, "B K T"]  # the slot, 0 … K - 1, of each live beam at each position

    @classmethod
    def empty(
        cls, layers: int, batch: int, slots: int, length: int, heads: tuple[int, int], dtype: Any
    ) -> "Cache":
        """Room for at most `slots` beams an example; one beam is live. `heads`: H and C."""
        shape = (layers, batch, length * slots, *heads)
        keys, values = jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)
        return cls(keys, values, jnp.zeros((batch, 1, length), jnp.int32))

    @property
    def slots(self) -> int:
        return self.keys_NxBxSxHxC.shape[2] // self.slot_BxKxT.shape[2]

    def at(self, position: Int[Array, ""]) -> tuple[Int[Array, "B K T"], Float[Array, "B 1 K S"]]:
        """The slots once the live beams have written `position`, and what masks all but a past."""
        B, K, T = self.slot_BxKxT.shape
        slot_BxKxT = self.slot_BxKxT.at[:, :, position].set(jnp.arange(K, dtype=jnp.int32))
        is_past_Tx1 = jnp.arange(T)[:, None] <= position
        is_own_BxKxTxK = is_past_Tx1 & (slot_BxKxT[..., None] == jnp.arange(self.slots))
        return slot_BxKxT, jnp.where(is_own_BxKxTxK, 0.0, MASKED).reshape(B, 1, K, T * self.slots)

    def reordered(self, beams_BxK: Int[Array, "B K"]) -> "Cache":
        slot_BxKxT = jnp.take_along_axis(self.slot_BxKxT, beams_BxK[..., None], axis=1)
        return dataclasses.replace(self, slot_BxKxT=slot_BxKxT)
