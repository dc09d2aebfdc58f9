"""Weights in and out: T5X's two layouts, Hugging Face's safetensors, and the own checkpoints."""

from recalign.weights.convert import Conversion, NewRows, convert
from recalign.weights.load import load_params

__all__ = ["Conversion", "NewRows", "convert", "load_params"]
