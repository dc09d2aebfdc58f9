"""Results beside the paper's and the baselines': one HTML page, tables, or text for a terminal.

Nothing is imported here: Tables 7 and 10 need neither SeqIO nor JAX.
"""
