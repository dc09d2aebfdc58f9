"""The shop of eight users and a run on it."""

import pathlib

import pytest

from tests.report.shop import Shop, write_run


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("data"))


@pytest.fixture
def run_directory(tmp_path: pathlib.Path, shop: Shop) -> pathlib.Path:
    return write_run(tmp_path / "ut", shop)
