"""The lock can be installed where the README says: a wheel of every line for each of them."""

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


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_line_of_the_lock_has_a_wheel(version, platform, tmp_path):
    lines = [line for line in LOCK.read_text().splitlines() if re.match(r"[a-z]", line)]
    asked = [line for line in lines if line.split("==")[0] not in SOURCE_ALONE[version]]
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
    assert all(line["download_info"]["url"].endswith(".whl") for line in found)


def test_the_lock_is_what_pyproject_asks_for():
    """Every requirement is in the lock, at the release that it pins."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)$", LOCK.read_text(), re.MULTILINE))
    needed = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    for requirement in needed:
        name, _, pinned = re.sub(r"\[.*\]", "", requirement).partition("==")
        name = re.split(r"[<>=!~]", name)[0].replace("_", "-").lower()
        assert name in locked, requirement
        assert pinned in ("", locked[name]), requirement
    assert project["requires-python"] == ">=3.11,<3.14"
