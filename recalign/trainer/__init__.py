"""The project's own engine: experiments, training, evaluation and recommending.

Nothing is imported here: `state` and `partitioning` need JAX alone, other modules the data too.
"""
