"""The documentation as a site: all pages are in its navigation, all links lead somewhere, nothing is from elsewhere.

The tests that build it are passed over where MkDocs is not installed (`pip install -e '.[test]'`).
"""

from __future__ import annotations

import html
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import pytest
import yaml

import evonas

ROOT = Path(__file__).parent.parent
SETTINGS: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
NEEDED = ("mkdocs", "material", "mkdocstrings_handlers")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def _hook() -> Any:
    spec = importlib.util.spec_from_file_location("site_hook", ROOT / "docs" / "site" / "hook.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HOOK = _hook()


def in_navigation() -> list[str]:
    return [page for group in SETTINGS["nav"] for pages in group.values() for page in pages]


def test_every_page_is_in_the_navigation_once() -> None:
    pages = [path.name for path in (ROOT / "docs").glob("*.md")] + list(HOOK.ROOT_PAGES.values())
    assert sorted(in_navigation()) == sorted(pages)
    assert {path.name for path in ROOT.glob("*.md")} == set(HOOK.ROOT_PAGES)


def test_the_navigation_goes_from_the_start_to_the_internals() -> None:
    assert [name for group in SETTINGS["nav"] for name in group] == [
        "Start",
        "Read the result",
        "Your own images and network",
        "Use or export the layer",
        "Report and compare",
        "Settings",
        "Evidence",
        "Internals",
    ]
    assert in_navigation()[0] == HOOK.ROOT_PAGES["README.md"]


def test_the_reference_has_every_public_name() -> None:
    names = re.findall(r"^::: evonas\.(\w+)$", (ROOT / "docs" / "REFERENCE.md").read_text(), re.M)
    assert sorted(names) == sorted(evonas.__all__)


@pytest.mark.parametrize(
    ("page", "link", "rewritten"),
    [
        ("SEARCH.md", "SPEC.md", "SPEC.md"),
        ("index.md", "docs/SPEC.md#glossary", "SPEC.md#glossary"),
        ("SPEC.md", "../README.md", "index.md"),
        ("PARTS.md", "../CONTRIBUTING.md#add-a-primitive", "CONTRIBUTING.md#add-a-primitive"),
        ("LOOP.md", "../examples/loop.py", "repository/examples/loop.py"),
        ("PARTS.md", "../examples", "repository/examples/index.md"),
        ("REPORT.md", "report.png", "report.png"),
        ("CLUSTER.md", "grafana/evonas.json", "repository/docs/grafana/evonas.json"),
        ("SEARCH.md", "#here", "#here"),
        ("SEARCH.md", "https://docs.ray.io", "https://docs.ray.io"),
        ("SEARCH.md", "NOWHERE.md", "NOWHERE.md"),  # which the build then complains of
    ],
)
def test_links_are_rewritten(page: str, link: str, rewritten: str) -> None:
    assert (
        HOOK.rewritten(page, f"see [this]({link}), [that]({link})") == f"see [this]({rewritten}), [that]({rewritten})"
    )
    fenced = f"text\n```sh\n[this]({link})\n```\n"
    assert HOOK.rewritten(page, fenced) == fenced


def test_a_folder_shows_its_python_and_lists_the_rest() -> None:
    text = HOOK.listing("examples")
    assert text.startswith("# examples/\n") and "## loop.py" in text and "```python" in text
    assert "- [discovery.json](discovery.json)" in HOOK.listing("benchmarks/results")


class Page(HTMLParser):
    """What a page links to, loads, and can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value is not None}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if "href" in given and tag == "a":
            self.links.append(given["href"])
        elif "src" in given or tag == "link":
            self.loads.append(given.get("src") or given["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}  # of Material, on its own future
    done = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "contains a link" not in done.stderr, done.stderr  # which MkDocs does not count as a fault
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {file: Page(file.read_text()) for file in site.rglob("*.html")}


def internal(pages: dict[Path, Page]) -> Iterator[tuple[Path, str, Path, str]]:
    """Pages, their links within the site, and the file and anchor that each means."""
    for file, page in pages.items():
        if file.name == "404.html":
            continue  # whose links begin at the root of a host
        for link in (*page.links, *page.loads):
            parts = urlsplit(link)
            if not parts.scheme:
                target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
                yield file, link, target, unquote(parts.fragment)


def test_every_link_and_anchor_of_the_site_leads_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    assert {name.replace(".md", ".html") for name in in_navigation()} <= {str(f.relative_to(site)) for f in pages}
    links = list(internal(pages))
    assert len(links) > 2000
    broken = [
        (file.name, link)
        for file, link, target, anchor in links
        if not target.is_file()
        or (anchor and target in pages and anchor not in pages[target].anchors and not anchor.startswith("__"))
    ]
    assert broken == []
    outside = [link for page in pages.values() for link in page.links if urlsplit(link).scheme not in ("", "https")]
    assert outside == []


def test_the_site_loads_nothing_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    assert [load for page in pages.values() for load in page.loads if urlsplit(load).netloc] == []
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?https?:", sheet.read_text()), sheet.name


def test_it_has_the_reference_and_a_search_that_finds_it(site: Path, pages: dict[Path, Page]) -> None:
    anchors = pages[site / "REFERENCE.html"].anchors
    assert [name for name in evonas.__all__ if f"evonas.{name}" not in anchors] == []
    text = (site / "REFERENCE.html").read_text()
    assert ">weight,\N{NO-BREAK SPACE}bias<" in text  # two attributes that share a line
    assert "Evolves layers, verifies the best" in text and ":::" not in re.sub(r"<code>.*?</code>", "", text)
    entries = json.loads((site / "search" / "search_index.json").read_text())["docs"]
    assert {"RERANK.html", "index.html"} <= {entry["location"].partition("#")[0] or "index.html" for entry in entries}
    assert any("p-values" in entry["title"] for entry in entries)


_LOOKS = """<script>
const seen = {errors: []};
addEventListener("error", event => { seen.errors.push(event.message); });
addEventListener("load", () => setTimeout(() => {
  seen.inner = innerWidth;
  seen.scroll = document.documentElement.scrollWidth;
  seen.loaded = performance.getEntriesByType("resource").map(entry => entry.name);
  parent.postMessage(JSON.stringify(seen), "*");
}, 500));
</script>"""
# A browser window has a least width; a frame does not.
_FRAME = """<!doctype html><script>
addEventListener("message", event => { document.documentElement.dataset.seen = event.data; });
</script><iframe src="PAGE" style="border: 0; width: WIDTHpx; height: 900px"></iframe>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_is_wider_than_the_screen(site: Path, pages: dict[Path, Page], width: int, tmp_path: Path) -> None:
    copy = tmp_path / "site"
    shutil.copytree(site, copy)
    for file in pages:
        page = copy / file.relative_to(site)
        page.write_text(page.read_text().replace("<head>", "<head>" + _LOOKS, 1))
        frame = page.with_name("frame.html")
        frame.write_text(_FRAME.replace("PAGE", page.name).replace("WIDTH", str(width)))
        command = [str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000"]
        command += ["--virtual-time-budget=5000", "--dump-dom", frame.as_uri()]
        dom = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True).stdout
        (found,) = re.findall(r'data-seen="([^"]*)"', dom)
        seen = cast("dict[str, Any]", json.loads(html.unescape(found)))
        assert seen["inner"] == width and seen["scroll"] <= width, (file.name, seen["scroll"])
        assert [name for name in seen["loaded"] if not name.startswith("file:")] == [], file.name
