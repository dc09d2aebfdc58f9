"""From a raw log to a prepared dataset, and its statistics.

A prepared dataset is the folder `<data_dir>/<name>/1.0.0/`, written beside its place and renamed
whole. Memory (`prepare.py`) and Apache Beam (`beam/`) write the same bytes, by the same functions
for ids, notes, records and the end (`finish.py`); `tests/data/beam/` compares them.

* TFDS records, `tfds.load("<name>:1.0.0", data_dir=…)`, in the splits train, validation and test;
  one a user, in the order in which users first appear in the log:

  - `user` string; `row` int64, the user's number from 0; `split` int64, 0, 1 or 2
  - `items` int32 sequence, indices of the catalogue in the order of time. Train: the training
    part; validation: and the validation item; test: and the test item. So the last one is the
    target of validation and test. `temporal.py` says how a split by time differs.
  - `ratings` float32 sequence aligned with `items`, where the log has ratings
  - `review_texts`, `summaries` string sequences aligned with `items`, where `prepare
    --review_texts` asked for them; "" where there is none
  - `unseen` int32 sequence, the rest of the user's items: negatives are never among them
  - validation has a fixed sample of at most 3,000 users

* `items.parquet`, a row an item in the order of indices: `id`, `raw_id`, `title`, `brand`, `price`
  (as shown), `categories` (a list), `description`, `train_count` int64. Random ids are I1 … IN.
* `dataset.json`, sealed by a digest (`integrity.py`), with those of all other files, the figures
  of the dataset, and `notes`: what `prepare` said and `stats` repeats.
* `sentencepiece.model`, where `prepare` was given or made a vocabulary; item tokens are its last
  pieces (`item_tokens.py`).
* `semantic_ids.npz`, where ids are semantic and embedded by a function of ours: what gives items
  that came later their codes (`new_items.py`).
* `law.npz` of synthetic logs: the law that they were drawn from.

Every public function raises `UserError` for bad input: a file, a setting or a log that a person can
mend. `Raises:` stands where there is more to say of it, or where something else is raised.
"""

DEFAULT_DATA_DIR = "data"
