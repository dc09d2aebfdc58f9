"""The house rules that a machine can check."""

import ast
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Who may import whom; WORKSPACE.md says what each room holds.
_PIPELINE = {"errors", "wording", "prompts", "data", "preprocessors", "metrics", "tasks"}
MAY_IMPORT = {
    "errors": set(),
    "internals": set(),
    "wording": {"errors"},
    "prompts": {"errors", "wording"},
    "data": {"errors", "wording", "prompts"},
    "preprocessors": {"errors", "internals", "wording", "prompts", "data"},
    "metrics": {"errors", "prompts", "data"},
    "tasks": _PIPELINE - {"tasks"},
    "model": {"errors"},
    "weights": {"errors", "data", "model"},
    "baselines": _PIPELINE - {"prompts"},
    "show": _PIPELINE,
    "t5x": _PIPELINE | {"model"},
    "trainer": _PIPELINE | {"internals", "model", "weights", "baselines", "gin_folder"},
    "serve": {"errors", "data", "trainer"},
    "plan": {"errors", "model", "preprocessors", "trainer"},
    "report": {"errors", "data", "metrics"},
    "gin_folder": set(),
    "demo": {"errors"},
    "verbs": _PIPELINE
    | {"flags", "gin_folder", "demo"}
    | {"model", "weights", "baselines", "show", "trainer", "plan", "report"},
    "host_memory": set(),
    "quiet": set(),
    "flags": set(),
    "arguments": {"verbs", "flags"},
    "asking": {"errors", "data", "flags", "trainer", "serve"},
    "cli": {"errors", "verbs", "arguments", "asking", "host_memory", "quiet"},
    "__main__": {"cli"},
}
KEPT_OUT = {
    "model": {"tensorflow", "tensorflow_text", "tensorflow_datasets", "seqio", "t5", "t5x"},
    "errors": {"tensorflow", "seqio", "jax"},
    "wording": {"tensorflow", "seqio", "jax", "numpy"},
    "prompts": {"tensorflow", "tensorflow_text", "seqio", "jax"},
    "cli": {"tensorflow", "seqio", "jax", "numpy"},
}
MOST_LINES = 400


def package_files() -> list[pathlib.Path]:
    return sorted([*ROOT.glob("recalign/**/*.py"), *ROOT.glob("tasks/**/*.py")])


def house_files() -> list[pathlib.Path]:
    """Everything that is the project's own text; what it made (data, runs, caches) is not."""
    tops = ("recalign", "tasks", "gin", "launch", "tests", "docs", ".ci")
    files = [path for top in tops for path in (ROOT / top).rglob("*")]
    files += [path for path in ROOT.iterdir() if path.suffix in (".md", ".toml", ".txt")]
    return sorted(
        path
        for path in files
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    )


def room_of(module: str) -> str:
    """recalign.data.ids -> data, tasks -> tasks, recalign -> the empty name."""
    top, *rest = module.split(".")
    return "tasks" if top == "tasks" else rest[0] if rest else ""


def module_of(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: pathlib.Path) -> list[tuple[int, str]]:
    """(line, module) of every import, those inside functions too."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                package = path.relative_to(ROOT).parent.parts
                above = package[: len(package) - node.level + 1]
                module = ".".join([*above, *filter(None, [module])])
            # `from recalign import metrics` names a room only together with what it imports.
            names = [f"{module}.{alias.name}" for alias in node.names]
            found += [(node.lineno, n) for n in (names if module == "recalign" else [module])]
    return found


def test_rooms_are_imported_one_way():
    breaches = []
    for path in package_files():
        room = room_of(module_of(path))
        if not room:
            continue
        assert room in MAY_IMPORT, f"{path.name}: a room that MAY_IMPORT lacks: {room}"
        for line, module in imports_of(path):
            if module.split(".")[0] not in ("recalign", "tasks"):
                continue
            other = room_of(module)
            if other in MAY_IMPORT and other != room and other not in MAY_IMPORT[room]:
                breaches.append(f"{path.relative_to(ROOT)}:{line}: {room} imports {other}")
    assert not breaches, "\n".join(breaches)


def test_rooms_keep_foreign_libraries_out():
    breaches = [
        f"{path.relative_to(ROOT)}:{line}: imports {module}"
        for path in package_files()
        for line, module in imports_of(path)
        if module.split(".")[0] in KEPT_OUT.get(room_of(module_of(path)), ())
    ]
    assert not breaches, "\n".join(breaches)


def test_nothing_imports_the_command_line():
    importers = [
        str(path.relative_to(ROOT))
        for path in package_files()
        if any(module.startswith("recalign.cli") for _, module in imports_of(path))
    ]
    assert importers == ["recalign/__main__.py"]


def test_the_experiments_folder_is_no_package():
    # It would hide the gin-config package from `python -m` at the repository's root.
    assert not list((ROOT / "gin").rglob("__init__.py"))


def test_files_have_one_subject():
    code = [
        path for path in house_files() if path.suffix in (".py", ".sh", ".gin", ".css", ".html")
    ]
    long = {
        str(path.relative_to(ROOT)): lines
        for path in code
        if (lines := len(path.read_text().splitlines())) > MOST_LINES
    }
    assert not long


def test_every_module_says_what_it_is():
    silent = [
        str(path.relative_to(ROOT))
        for path in package_files()
        if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent


def test_the_map_has_every_room_and_is_short():
    text = (ROOT / "WORKSPACE.md").read_text()
    lost = [
        room
        for room in MAY_IMPORT
        if room != "__main__" and not re.search(rf"`(recalign/)?{room}(/|\.py)`", text)
    ]
    assert not lost
    assert len(text.encode()) <= 10 * 1024


def test_tests_mirror_the_package():
    """A folder of tests is one of the project's; a file that has a module's name lies where the
    module does. Other files are named by what they ask of their folder."""
    homes: dict[str, set[pathlib.Path]] = {}
    for path in package_files():
        folder = path.relative_to(ROOT / "recalign" if "recalign" in path.parts else ROOT).parent
        if path.name != "__init__.py":
            homes.setdefault(path.stem, set()).add(folder)
    for path in (ROOT / "tests").rglob("test_*.py"):
        folder = path.parent.relative_to(ROOT / "tests")
        rooms = (ROOT / "recalign" / folder, ROOT / folder)
        assert str(folder) == "examples" or any(room.is_dir() for room in rooms), path
        named = homes.get(path.stem.removeprefix("test_"))
        if named and rooms[0].is_dir():
            assert folder in named, f"{path.relative_to(ROOT)}: of {', '.join(map(str, named))}?"


def test_no_path_of_a_developers_machine():
    machine_path = re.compile(r"(?<![\w./:*$}])/(?:work|root|tmp|home|Users)/\w")
    found = []
    for path in house_files():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
            for number, line in enumerate(text.splitlines(), start=1)
            if machine_path.search(line)
        ]
    assert not found, "\n".join(found)


def test_the_lock_pins_every_package():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    packages = [line for line in lines if line and not line.startswith(("#", "    --hash=sha256:"))]
    loose = [line for line in packages if not re.fullmatch(r"[a-z0-9.-]+==[\w.+]+ \\", line)]
    assert packages and not loose


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "--no-cache"], ["ruff", "format", "--check", "--no-cache"], ["mypy"]],
    ids=["lint", "format", "types"],
)
def test_tools_agree(command):
    outcome = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
