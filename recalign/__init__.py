"""recalign: recommendation as natural-language tasks for T5-family language models."""

__version__ = "0.1.0"
