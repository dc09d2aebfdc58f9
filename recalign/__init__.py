"""recalign: recommendation as natural-language tasks for T5-family language models."""

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """`recalign.Recommender`, which loads JAX and TensorFlow, is there when it is asked for."""
    if name == "Recommender":
        from recalign.trainer.recommend import Recommender

        return Recommender
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
