"""What all tests need of the process that they run in."""

import signal

import gin
import pytest


@pytest.fixture(scope="session", autouse=True)
def interruptible():
    """Children obey Ctrl-C even where the tests run in the background, whose SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def unlocked_gin():
    """Each file may bind parameters, even after one whose experiment has locked them."""
    with gin.unlock_config():
        yield
