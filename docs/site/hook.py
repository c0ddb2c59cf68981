"""Takes into the site what lies outside `docs/`, so that the same pages are read on GitHub and here.

- The pages of the root become pages of the site: `README.md` is its first.
- A link to another page leads to it. A link to any other file of the repository, such as a result in JSON, leads to a
  copy of that file under `repository/`, and a link to a folder to a page that lists its files, and shows those in
  Python. So the site needs no address of the repository, and a test can follow every link.

MkDocs calls `on_files` with the files of `docs/`, and `on_page_markdown` with the text of each page. The other
functions do not need MkDocs.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
ROOT_PAGES = {
    "README.md": "index.md",
    **{name: name for name in ("ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")},
}
"""Pages of the root and their names in the site."""
COPIES = "repository"
"""The folder of the site for other files of the repository."""
_FENCED = re.compile(r"^(```.*?^```$)", re.M | re.S)
_LINK = re.compile(r"(\]\()([^)#\s]+)(#[^)\s]*)?(\))")
_LISTED = {".py": "python", ".toml": "toml"}
"""Files that the page of a folder shows, with the language of each."""


def repository_path(page: str) -> str:
    """The path in the repository of a page of the site."""
    return next((path for path, name in ROOT_PAGES.items() if name == page), f"docs/{page}")


def site_path(path: str) -> str | None:
    """The path in the site of a file or folder of the repository; None if there is no such thing."""
    if path in ROOT_PAGES:
        return ROOT_PAGES[path]
    if not (ROOT / path).exists():
        return None
    if path.startswith("docs/") and not path.startswith("docs/grafana/"):
        return path.removeprefix("docs/")
    return f"{COPIES}/{path}/index.md" if (ROOT / path).is_dir() else f"{COPIES}/{path}"


def targets(page: str, text: str) -> Iterator[str]:
    """The paths in the repository that links of a page lead to."""
    for _, target, _, _ in _LINK.findall(_FENCED.sub("", text)):
        path = posixpath.normpath(posixpath.join(posixpath.dirname(repository_path(page)), target))
        if "://" not in target and (ROOT / path).exists():
            yield path


def rewritten(page: str, text: str) -> str:
    """The text of a page with its links as they are in the site."""

    def moved(link: re.Match[str]) -> str:
        before, target, anchor, after = link.groups()
        path = posixpath.normpath(posixpath.join(posixpath.dirname(repository_path(page)), target))
        there = None if "://" in target else site_path(path)
        if there is None:
            return link[0]
        return f"{before}{posixpath.relpath(there, posixpath.dirname(page) or '.')}{anchor or ''}{after}"

    return "".join(part if part.startswith("```") else _LINK.sub(moved, part) for part in _FENCED.split(text))


def listing(folder: str) -> str:
    """The page of a folder: its files, with the text of those that are read rather than downloaded."""
    lines = [f"# {folder}/", ""]
    for file in files_of(folder):
        if file.suffix in _LISTED:
            lines += [f"## {file.name}", "", f"```{_LISTED[file.suffix]}", file.read_text().rstrip(), "```", ""]
        else:
            lines.append(f"- [{file.name}]({file.name})")
    return "\n".join(lines) + "\n"


def files_of(folder: str) -> list[Path]:
    """The files of a folder of the repository, without those that Python writes."""
    return sorted(file for file in (ROOT / folder).iterdir() if file.is_file() and file.suffix != ".pyc")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages of the root, and copies of what pages link to."""
    from mkdocs.structure.files import File

    for path, name in ROOT_PAGES.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
    linked = {path for file in files.documentation_pages() for path in targets(file.src_uri, file.content_string)}
    outside = [path for path in linked if (site_path(path) or "").startswith(f"{COPIES}/")]
    copied = {path for path in outside if (ROOT / path).is_file()}
    for folder in set(outside) - copied:
        files.append(File.generated(config, f"{COPIES}/{folder}/index.md", content=listing(folder)))
        copied |= {f"{folder}/{file.name}" for file in files_of(folder) if file.suffix not in _LISTED}
    for path in sorted(copied):
        files.append(File.generated(config, f"{COPIES}/{path}", abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite the links of a page."""
    del config, files
    return markdown if page.file.src_uri.startswith(f"{COPIES}/") else rewritten(page.file.src_uri, markdown)
