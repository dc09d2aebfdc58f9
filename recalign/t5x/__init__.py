"""What T5X loads of recalign: vocabularies, lengths, and models with recalign's beam search.

Only `fast` and `constrained` need T5X itself.
"""
