"""`python -m recalign VERB` is `recalign VERB`."""

from recalign.cli import run

if __name__ == "__main__":
    run()
