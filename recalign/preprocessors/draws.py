"""Random draws as a pure function of (seed, position), for a whole batch of positions at once.

TensorFlow's stateless operations take one seed a call, so a batch would need a call for each
position. A draw is a hash of (seed, position, purpose, number) instead: SplitMix64 (Steele, Lea and
Flood, 2014), whose output function passes the usual test batteries on counters.
"""

import dataclasses
import zlib

import tensorflow as tf

_GOLDEN = 0x9E3779B97F4A7C15
_FACTORS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_SHIFTS = (30, 27, 31)
_MASK = 2**64 - 1


def stream_key(seed: int, name: str) -> int:
    """The key of a stream: `seed` for everything in a run, `name` to tell its streams apart.

    >>> stream_key(0, "mim_toys") == stream_key(0, "mlm_toys")
    False
    """
    return _mixed(_mixed(seed & _MASK) ^ zlib.crc32(name.encode()))


def _mixed(value: int) -> int:
    with tf.init_scope():
        return int(_mix(_constant((value + _GOLDEN) & _MASK)))


@dataclasses.dataclass(frozen=True)
class Draws:
    """Random numbers at positions of a stream, int64 [B], by its key (`stream_key`)."""

    key: int
    position_B: tf.Tensor

    def bits(self, purpose: str, count: int | tf.Tensor) -> tf.Tensor:
        """uint64 [B, count] random bits; another purpose gives other bits."""
        purpose_key = _mixed(self.key ^ zlib.crc32(purpose.encode()))
        positions_B = tf.cast(self.position_B, tf.uint64) * _constant(_GOLDEN)
        starts_B = _mix(tf.bitwise.bitwise_xor(positions_B, _constant(purpose_key)))
        numbers = tf.cast(tf.range(1, tf.cast(count, tf.int64) + 1), tf.uint64) * _constant(_GOLDEN)
        return _mix(starts_B[:, tf.newaxis] + numbers)

    def uniform(self, purpose: str, count: int | tf.Tensor) -> tf.Tensor:
        """float64 [B, count] in [0, 1)."""
        bits = tf.bitwise.right_shift(self.bits(purpose, count), _constant(11))
        return tf.cast(tf.cast(bits, tf.int64), tf.float64) * 2.0**-53

    def below(self, purpose: str, limit: int | tf.Tensor) -> tf.Tensor:
        """int64 [B], uniform in 0 … limit - 1; one limit or [B] of them, each at least 1."""
        fraction_B = self.uniform(purpose, 1)[:, 0]
        return tf.cast(fraction_B * tf.cast(limit, tf.float64), tf.int64)

    def order(self, purpose: str, count: int | tf.Tensor) -> tf.Tensor:
        """int64 [B, count] non-negative random numbers: ranked, they give a random order.

        Each has its place as low bits (at most 2^20 places), so that no two are equal.
        """
        bits = tf.bitwise.right_shift(self.bits(purpose, count), _constant(21))
        return tf.cast(bits, tf.int64) * 2**20 + tf.range(tf.cast(count, tf.int64))


def _constant(value: int) -> tf.Tensor:
    return tf.constant(value, tf.uint64)


def _mix(value: tf.Tensor) -> tf.Tensor:
    """SplitMix64's output function, elementwise."""
    for shift, factor in zip(_SHIFTS, _FACTORS, strict=False):
        shifted = tf.bitwise.right_shift(value, _constant(shift))
        value = tf.bitwise.bitwise_xor(value, shifted) * _constant(factor)
    return tf.bitwise.bitwise_xor(value, tf.bitwise.right_shift(value, _constant(_SHIFTS[-1])))
