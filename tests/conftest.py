"""What all tests need of the process that they run in."""

import contextlib
import fcntl
import gc
import os
import pathlib
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import gin
import hypothesis
import pytest

from recalign import quiet

# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("recalign", deadline=None)
hypothesis.settings.load_profile("recalign")

_PROGRAMS = "JAX_COMPILATION_CACHE_DIR"
# XLA's older way from fusions to machine code compiles a step or a search in half the time. With
# --slow all tests run on what users run.
_OLDER_EMITTERS = "--xla_cpu_use_fusion_emitters=false"


def pytest_configure(config: pytest.Config) -> None:
    """What one test compiled is read by all: pytest's other workers, and processes of tests too.

    They inherit the environment, which has to be set before JAX is imported.
    """
    if _PROGRAMS not in os.environ:
        os.environ[_PROGRAMS] = tempfile.mkdtemp(prefix="recalign-programs-")
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
        if config.option.markexpr == "not slow":
            os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_OLDER_EMITTERS}".strip()
        config.add_cleanup(lambda: shutil.rmtree(os.environ.pop(_PROGRAMS), ignore_errors=True))
    if "PYTEST_XDIST_WORKER" in os.environ:
        # Some file of a worker's needs it, and a command loads it so.
        quiet.load_tensorflow()


def pytest_collection_finish() -> None:
    """The garbage collector is spared what stays, and looks less often.

    JAX has it look for arrays each time, and tracing makes thousands of objects.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that train or compile for minutes come first, so that no worker is left with one."""
    here = pathlib.Path(__file__).parent
    long = ("test_readme.py", "trainer", "test_wheel.py", "test_accelerator_benchmark.py")
    rooms = [here / name for name in (*long, "model", "weights")]
    items.sort(key=lambda item: [item.path.is_relative_to(room) for room in rooms], reverse=True)


def made_once(
    tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[pathlib.Path], None]
) -> pathlib.Path:
    """A folder that all workers of a run share: the first that asks for it fills it by `make`."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, whole = shared / name, shared / f"{name}.whole"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            whole.touch()
    return folder


@pytest.fixture(scope="session", autouse=True)
def interruptible():
    """Children obey Ctrl-C even where the tests run in the background, whose SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """No test cuts the power. What is asked of the disk, and when, is seen by `on_disk`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda number: None)
        yield


@pytest.fixture(scope="module", autouse=True)
def fresh_gin():
    """Each file finds gin without bindings and unlocked, whatever ran before it."""
    with gin.unlock_config():
        gin.clear_config()
        yield


@contextlib.contextmanager
def compiled_quickly() -> Iterator[None]:
    """Programs that run for a moment are not worth compiling well, in child processes neither.

    But with --slow they are compiled as users' are.
    """
    if _OLDER_EMITTERS not in os.environ.get("XLA_FLAGS", ""):
        yield
        return
    import jax  # it takes a second, which not all tests wait for

    name = "jax_disable_most_optimizations"
    before = jax.config.read(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(name.upper(), "1")
        jax.config.update(name, True)
        try:
            yield
        finally:
            jax.config.update(name, before)


@pytest.fixture(scope="module")
def quick_compilation() -> Iterator[None]:
    """For tests that compile many small programs and run each for a moment."""
    with compiled_quickly():
        yield


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data directory with the dataset `tiny`: 60 users, 50 items, ratings."""
    from tests.corpus import make_corpus  # it loads TensorFlow, which not all tests wait for

    def make(folder: pathlib.Path) -> None:
        make_corpus("tiny", folder)

    shared = made_once(tmp_path_factory, "data", make)
    # A worker's own: files prepare other datasets beside it.
    return str(shutil.copytree(shared, tmp_path_factory.mktemp("data") / "own"))


@pytest.fixture
def on_disk(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What the system is asked for, in order: ("fsync", path), ("rename", from, to) or
    ("remove", folder)."""
    asked: list[tuple[str, ...]] = []

    def note(module: Any, name: str, kind: str) -> None:
        real = getattr(module, name)

        def noting(first: Any, *rest: Any, **more: Any) -> Any:
            path = os.readlink(f"/proc/self/fd/{first}") if kind == "fsync" else os.fspath(first)
            asked.append((kind, path, *map(os.fspath, rest if kind == "rename" else ())))
            return real(first, *rest, **more)

        monkeypatch.setattr(module, name, noting)

    for name, kind in (("fsync", "fsync"), ("rename", "rename"), ("replace", "rename")):
        note(os, name, kind)
    note(shutil, "rmtree", "remove")
    return asked
