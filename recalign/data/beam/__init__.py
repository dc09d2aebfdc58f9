"""The preparation as Apache Beam pipelines, for a log that outgrows a machine.

The same dataset as in memory, byte by byte. What has to fit on one machine is the items (their
texts, ids and counts) and one user's interactions; everything as long as the log is spread over the
workers. Beam is needed only here (`pip install recalign[beam]`).
"""
