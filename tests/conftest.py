"""What all tests need of the process that they run in."""

import signal

import pytest


@pytest.fixture(scope="session", autouse=True)
def interruptible():
    """Children obey Ctrl-C even where the tests run in the background, whose SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
