"""A network of one's own with a size that nobody binds."""

import dataclasses

import gin

from tests.examples.decoder_only import DecoderOnly


@gin.configurable
@dataclasses.dataclass(frozen=True, kw_only=True)
class Unbound(DecoderOnly):
    width_of_mine: int
