"""Readers of raw logs, one kind of file a module: `find_log` and `log_reader` of `sources.py` find
files and columns before a record is read, the functions of `read.py` then read them."""
