"""From a prepared dataset to SeqIO examples: windows, negatives, masks, token joining, fitting."""
