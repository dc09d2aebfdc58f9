"""The project's own engine: experiments, training, evaluation and recommending.

A run's folder is data. `run.json` says what the run was made from, and every verb that opens a run
compares (`provenance.py`; a new setting that changes training needs no line there, one that does
not is named in `_OF_THE_JOURNEY`). `config.gin` holds the settings as values, and is read as
nothing else (`run_config.py`; a gin configurable that a run depends on is a field of `Experiment`).
What is read back has a digest, a folder one trainer at a time (`lock.py`). Tasks take the data
folder and the settings from the experiment's surroundings, never from gin: `with
experiment.surroundings.entered():`. `tests/trainer/test_damage.py` has the table of what each
artefact's damage does. Nothing is imported here: `state` and `partitioning` need JAX alone, other
modules the data too.
"""
