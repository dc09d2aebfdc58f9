"""The pages are one site: what a page names is there, and every page can be reached."""

import re

import pytest

from tests.pages import PAGES, ROOT, blocks, inline_code, links, name_of

_FILE = re.compile(r"(?:docs|gin|launch|recalign|tasks|tests)/[\w./*-]*")


def anchors(page):
    """The names by which a page's headings are linked to."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for written, file, anchor in links(page):
        assert file.exists(), f"{name_of(page)}: {written}"
        assert not anchor or anchor in anchors(file), f"{name_of(page)}: {written}"


def test_every_page_is_reached_from_the_readme_and_listed_in_the_index():
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached:
            reached.add(page)
            waiting += [file for _, file, _ in links(page) if file.suffix == ".md"]
    assert set(PAGES) <= reached
    index = {file for _, file, _ in links(ROOT / "docs" / "README.md")}
    assert index >= set((ROOT / "docs").glob("*.md")) - {ROOT / "docs" / "README.md"}
    drawn = {file for page in PAGES for _, file, _ in links(page)}
    assert set((ROOT / "docs" / "images").iterdir()) <= drawn


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_that_are_named_are_there(page):
    """Also WORKSPACE.md's map."""
    named = [name for code in inline_code(page) for name in _FILE.findall(code)]
    lost = [name for name in named if not list(ROOT.glob(name.rstrip("/.")))]
    assert not lost


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_say_what_they_are(page):
    """Else tests/docs/test_commands.py would not see a command."""
    fences = page.read_text().count("\n```")
    known = [block for language in ("sh", "python", "text") for block in blocks(page, language)]
    assert fences == 2 * len(known)
