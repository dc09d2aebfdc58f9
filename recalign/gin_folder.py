"""Where the experiments are: in a clone, and where recalign was installed from a wheel."""

import os
import pathlib

_PACKAGE = pathlib.Path(__file__).resolve().parent

ROOT = next(
    (root for root in (_PACKAGE.parent, _PACKAGE) if (root / "gin" / "engine").is_dir()),
    _PACKAGE.parent,
)
"""The folder that holds `gin/`. Site-packages has a `gin/` too, which is gin-config."""

FOLDER = ROOT / "gin"

SEARCH_PATHS = ("", str(ROOT), "gin/engine", str(FOLDER / "engine"), "gin", str(FOLDER))
"""Where the own engine looks for an experiment and what it includes: the working directory first,
as gin does; then the repository, the own engine's side of T5X's files, and experiments by their
bare names."""

T5X_SEARCH_PATHS = (str(ROOT), str(FOLDER))
"""What T5X needs as --gin_search_paths away from a clone's root; its own root has its own side."""


def experiments() -> dict[str, str]:
    """The experiments by the name that --gin_file takes, and what each is."""
    found = {}
    for path in sorted(
        [*FOLDER.glob("*.gin"), *FOLDER.glob("base/*.gin"), *FOLDER.glob("own/*.gin")]
    ):
        with path.open(encoding="utf-8") as file:
            found[os.fspath(path.relative_to(FOLDER))] = file.readline().lstrip("# ").strip()
    return found
