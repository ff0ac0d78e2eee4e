"""Links between pages, and from the code to pages, lead to an existing heading."""

import re
import subprocess

from embryofl_data.importers.run import IMPORTERS
from kits.code_blocks import PAGES, ROOT

ALL = [*PAGES, *(ROOT / "bench" / name / "README.md" for name in ("privacy", "quality"))]


def anchors(page):
    """The anchors that GitHub makes from a page's headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_between_pages_lead_somewhere():
    lost = []
    for page in ALL:
        for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text()):
            other = (page.parent / target).resolve() if target else page
            if "://" in target:
                continue
            if not other.exists() or (anchor and anchor not in anchors(other)):
                lost.append(f"{page.name}: {target}#{anchor}")
    assert lost == []


def test_links_from_code_to_pages_lead_somewhere():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    files = [
        ROOT / name
        for name in listed
        if name.endswith((".py", ".yml", ".yaml", ".toml", ".sh", ".json", "Makefile", ".j2"))
    ]
    lost = []
    for path in filter(lambda p: p.is_file(), files):
        for target, anchor in re.findall(r"(docs/[\w-]+\.md)(?:#([\w-]+))?", path.read_text()):
            if not (ROOT / target).exists() or (anchor and anchor not in anchors(ROOT / target)):
                lost.append(f"{path.relative_to(ROOT)}: {target}#{anchor}")
    assert lost == []


def test_every_page_of_the_docs_is_linked_from_the_readme():
    readme = (ROOT / "README.md").read_text()
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"docs/{page.name}" not in readme] == []


def test_every_page_links_to_the_glossary():
    pages = [page for page in (ROOT / "docs").glob("*.md") if page.name != "glossary.md"]
    assert [page.name for page in pages if "(glossary.md)" not in page.read_text()] == []


def test_data_page_has_every_importer_with_its_rules():
    page = (ROOT / "docs" / "data.md").read_text().partition("| layout |")[2].partition("\n\n")[0]
    rows = dict(re.findall(r"^\| `([\w-]+)` \| .* \| (.*) \|$", page, re.M))
    for importer in IMPORTERS:
        assert importer.name in rows, f"docs/data.md has no row for {importer.name}"
        assert ("Gardner rules" in rows[importer.name]) == ("gardner-3bb" in importer.rules), importer.name
        assert ("`stated`" in rows[importer.name]) == ("stated" in importer.rules), importer.name
