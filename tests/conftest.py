"""What all tests need of the process that they run in."""

import pathlib
import signal

import gin
import hypothesis
import pytest

# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("recalign", deadline=None)
hypothesis.settings.load_profile("recalign")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that train or compile for minutes come first, so that no worker is left with one."""
    here = pathlib.Path(__file__).parent
    rooms = [here / name for name in ("trainer", "model", "weights")]
    items.sort(key=lambda item: [item.path.is_relative_to(room) for room in rooms], reverse=True)


@pytest.fixture(scope="session", autouse=True)
def interruptible():
    """Children obey Ctrl-C even where the tests run in the background, whose SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def fresh_gin():
    """Each file finds gin without bindings and unlocked, whatever ran before it."""
    with gin.unlock_config():
        gin.clear_config()
        yield


@pytest.fixture(scope="module")
def quick_compilation():
    """For tests that compile many small programs and run each for a moment."""
    import jax  # it takes a second, which not all tests wait for

    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data directory with the dataset `tiny`: 60 users, 50 items, ratings."""
    from tests.corpus import make_corpus  # it loads TensorFlow, which not all tests wait for

    directory = tmp_path_factory.mktemp("data")
    make_corpus("tiny", directory)
    return str(directory)
