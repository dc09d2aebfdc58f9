"""The project's own engine: experiments, training, evaluation and recommending."""
