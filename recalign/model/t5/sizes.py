"""The sizes and switches of a T5 1.1 model."""

import dataclasses

import jax
import jax.numpy as jnp

from recalign.errors import UserError

# (embedding, heads, layers of a stack, feed-forward): T5 1.1's sizes.
_T5_SIZES = {
    (512, 6, 8, 1024): "small",
    (768, 12, 12, 2048): "base",
    (1024, 16, 24, 2816): "large",
    (2048, 32, 24, 5120): "xl",
    (4096, 64, 24, 10240): "xxl",
}

# What T5X's network has under the same names.
SIZES = (
    "vocab_size", "emb_dim", "num_heads", "num_encoder_layers", "num_decoder_layers", "head_dim",
    "mlp_dim",
)  # fmt: skip
_MOST = 2**24  # of any of them: T5's largest is 65,536, and JAX counts in 32 bits


@dataclasses.dataclass(frozen=True)
class T5Sizes:
    """A T5 1.1 model; the defaults are those of `small`."""

    vocab_size: int = 32128  # rows of the embedding and columns of the output layer
    emb_dim: int = 512  # width of the residual stream
    num_heads: int = 6  # attention heads a layer
    num_encoder_layers: int = 8
    num_decoder_layers: int = 8
    head_dim: int = 64  # size of one head's queries, keys and values
    mlp_dim: int = 1024  # hidden size of the gated feed-forward block
    dropout_rate: float = 0.1  # applied only where `enable_dropout` is true
    dtype: str = "float32"  # of the activations, or "bfloat16"; parameters are always float32
    # What backpropagation recomputes instead of keeping: False for nothing, True for whole layers,
    # or the name of a policy of `jax.checkpoint_policies`.
    remat: bool | str = False
    # Compile the layers one after the other instead of as one loop: faster steps for small models
    # on a CPU, slower compilation for deep ones. The parameters are the same.
    unroll_layers: bool = False
    # Compute attention scores and their softmax in float32 even where `dtype` is bfloat16, as T5X's
    # option of that name.
    float32_attention_logits: bool = False
    # The output layer is the embedding's transpose, its logits divided by sqrt(emb_dim), instead of
    # a matrix of its own (T5X's option of that name).
    logits_via_embedding: bool = False
    embedding_stddev: float = 1.0  # of the embedding's random start values (T5X's is 1)
    # None for our own, which XLA compiles, or an implementation of
    # `jax.nn.dot_product_attention`: "cudnn" (fused; NVIDIA GPUs, bfloat16) or "xla". Beam search's
    # steps are our own in any case.
    attention: str | None = None

    def __post_init__(self) -> None:
        for name in SIZES:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UserError(f"T5Config.{name} must be a positive integer, not {value!r}")
            if value > _MOST:
                raise UserError(f"T5Config.{name} must be at most {_MOST:,}, not {value!r}")
        for name, holds, rule in (
            ("dropout_rate", 0.0 <= self.dropout_rate < 1.0, "at least 0 and below 1"),
            ("embedding_stddev", self.embedding_stddev > 0, "above 0"),
            ("dtype", self.dtype in ("float32", "bfloat16"), "'float32' or 'bfloat16'"),
            ("attention", self.attention in (None, "cudnn", "xla"), "None, 'cudnn' or 'xla'"),
        ):
            if not holds:
                raise UserError(f"T5Config.{name} must be {rule}, not {getattr(self, name)!r}")
        if isinstance(self.remat, str) and not hasattr(jax.checkpoint_policies, self.remat):
            raise UserError(
                f"T5Config.remat {self.remat!r} is not a policy of jax.checkpoint_policies; "
                "give True, False or a name such as 'dots_with_no_batch_dims_saveable'"
            )
        if self.attention == "cudnn" and self.dtype != "bfloat16":
            raise UserError("T5Config.attention 'cudnn' needs the dtype 'bfloat16'")
        if self.attention and self.float32_attention_logits:
            raise UserError(
                "T5Config.attention: float32_attention_logits is for our own attention (None); "
                "jax.nn.dot_product_attention computes its softmax in float32 anyway"
            )

    @property
    def size_name(self) -> str:
        """ "small" to "xxl" where the network is T5 1.1's of that size, else ""."""
        sizes = (self.emb_dim, self.num_heads, self.num_encoder_layers, self.mlp_dim)
        same_depth = self.num_encoder_layers == self.num_decoder_layers
        return _T5_SIZES.get(sizes, "") if same_depth else ""

    @property
    def activation_dtype(self) -> jnp.dtype:
        return jnp.dtype(self.dtype)
