"""The lock can be installed where the README says: a wheel of every line, with its digest."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements.txt"

# Lines without a wheel. promise is Python alone: pip builds it anywhere. editdistance, which SeqIO
# needs, is C++, and its last release came before 3.13: there launch/setup.sh wants a compiler.
SOURCE_ALONE = {"3.11": {"promise"}, "3.12": {"promise"}, "3.13": {"promise", "editdistance"}}

PLATFORMS = {
    "Linux x86_64": [f"manylinux_2_{glibc}_x86_64" for glibc in (17, 24, 26, 27, 28)]
    + ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"],
    "Linux aarch64": [f"manylinux_2_{glibc}_aarch64" for glibc in (17, 24, 26, 27, 28)]
    + ["manylinux2014_aarch64"],
    "macOS arm64": [f"macosx_{release}_0_arm64" for release in (11, 12, 13, 14)]
    + [f"macosx_{release}_0_universal2" for release in (11, 12, 13, 14)]
    + ["macosx_10_9_universal2", "macosx_10_13_universal2"],
}


LOCKS = [
    LOCK,
    *sorted((ROOT / "launch" / "locks").glob("*.txt")),
    ROOT / "launch" / "t5x_requirements.txt",
    ROOT / "recalign" / "baselines" / "environments" / "cornac.txt",
]


def digests(lock: pathlib.Path) -> dict[str, set[str]]:
    """What a lock says: the digests of each `name==release`.

    Nothing else may stand there but comments: neither a marker (a line for one system alone) nor an
    index, which would be one machine's.
    """
    found: dict[str, set[str]] = {}
    text = re.sub("^#.*\n", "", lock.read_text(), flags=re.MULTILINE)
    for line in text.replace("\\\n", " ").splitlines():
        package, *hashes = line.split()
        assert re.fullmatch(r"[a-z0-9.-]+==[\w.+]+", package), line
        assert all(re.fullmatch("--hash=sha256:[0-9a-f]{64}", it) for it in hashes), line
        found[package] = {it.removeprefix("--hash=sha256:") for it in hashes}
    return found


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_line_has_digests(lock):
    found = digests(lock)
    assert found and all(found.values())


def test_locks_agree_on_what_they_share():
    """One is installed over another's environment."""
    main = dict(line.split("==") for line in digests(LOCK))
    for lock in LOCKS[1:-1]:  # Cornac's is an environment of its own
        for package in digests(lock):
            name, release = package.split("==")
            assert main.get(name, release) == release, lock.name


def test_an_accelerators_lock_is_for_the_release_of_the_lock():
    jax = next(package for package in digests(LOCK) if package.startswith("jax=="))
    for name in ("cuda12", "cuda13", "tpu"):
        assert jax in digests(ROOT / "launch" / "locks" / f"{name}.txt")


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_line_of_the_lock_has_a_wheel(version, platform, tmp_path):
    locked = digests(LOCK)
    asked = [line for line in locked if line.split("==")[0] not in SOURCE_ALONE[version]]
    report = tmp_path / "report.json"
    outcome = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--no-deps"),
            *("--only-binary", ":all:", "--implementation", "cp", "--python-version", version),
            *(word for tag in PLATFORMS[platform] for word in ("--platform", tag)),
            *("--target", str(tmp_path / "none"), "--report", str(report), *asked),
        ],
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stderr
    found = json.loads(report.read_text())["install"]
    assert len(found) == len(asked) > 80
    for package in found:
        about, file = package["metadata"], package["download_info"]
        assert file["url"].endswith(".whl")
        name = re.sub("[-_.]+", "-", about["name"]).lower()
        assert file["archive_info"]["hashes"]["sha256"] in locked[f"{name}=={about['version']}"]


def test_the_lock_is_what_pyproject_asks_for():
    """Every requirement is in the lock, at the release that it pins."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = dict(line.split("==") for line in digests(LOCK))
    needed = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    for requirement in needed:
        name, _, pinned = re.sub(r"\[.*\]", "", requirement).partition("==")
        name = re.split(r"[<>=!~]", name)[0].replace("_", "-").lower()
        assert name in locked, requirement
        assert pinned in ("", locked[name]), requirement
    assert project["requires-python"] == ">=3.11,<3.14"
