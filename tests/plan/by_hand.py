"""A model small enough for its operations and bytes to be counted on paper, and its sizes."""

from recalign.model.t5.config import T5Config
from recalign.plan.compilation import Compiled

MODEL = T5Config(
    vocab_size=96,
    emb_dim=16,
    num_heads=3,
    num_encoder_layers=4,
    num_decoder_layers=2,
    head_dim=8,
    mlp_dim=40,
    dropout_rate=0.0,
)
L, T = 12, 6
"""Tokens in and out."""

D, V, H, HC, F = MODEL.emb_dim, MODEL.vocab_size, 3, 3 * 8, MODEL.mlp_dim
BUCKETS = 32
"""Of relative positions."""

STEP = Compiled(
    flops=197e12 / 20,
    memory_bytes=819e9 / 10,
    link_bytes=50e9 / 10,
    arguments=2**30,
    temporary=2**31,
    peak=2**32,
    refusal=None,
    seconds=12.0,
)
"""On v5e:2x2: 0.05 s of arithmetic, 0.1 s of memory and then 0.1 s of links."""
