"""Recommendations out: for every user to a file, and over HTTP.

Nothing is imported here: the file needs nothing that the extra `serve` brings.
"""
