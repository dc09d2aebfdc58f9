"""From a prepared dataset to SeqIO examples: windows, negatives, masks, token joining, fitting.

A batch is a dict of tensors with a leading batch axis: `sample` int64 [B], the number in the epoch;
`position` int64 [B], which decides what is drawn; then what preprocessors add. Items are int32
indices of the catalogue, [B, n], -1 where there is none.

A preprocessor is made by a public function of this folder, such as `next_item_windows()`, and names
the fields that it `makes` and `needs`. `bind(context)` gives its function from batch to batch, with
dataset, split, settings, lengths, words (`context.layout`) and draws (`context.draws(batch)`, which
follow from the position alone). Lengths are handed from the last one to the first: `corrupt_spans`
says how long its text may be. What the log lacks is its `missing`.

`samples.py` binds a task's list once; tasks (`task.py`) and streams (`stream.py`) call it on chunks
of positions. Position n is epoch n // N and a stateless permutation of the N samples, so one host
or eight read one stream, and `first_position` starts anywhere (exact resume). Held-out positions
are in the order of users, and their negatives those of (the dataset's seed, split, user). In a
mixture the task of position n is drawn from (seed, n). `packed_stream.py` comes after the examples.

An example has `inputs` and `targets`, int32 with the end of sequence, and what metrics read: `row`,
`split`, `history`, `target`, and `candidates` (ranking) or `label` (rating, 1 for a like).
"""
