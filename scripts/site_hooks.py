"""Hooks of MkDocs, named in mkdocs.yml, that add to the site of docs/ what it has besides its pages.

They are run by ``scripts/docs``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Pages that are files of the repository's root."""
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")
LOADED = re.compile(r'<link\b[^>]*\bhref="(?:https?:)?//[^>]*>|<\w+\b[^>]*\bsrc="(?:https?:)?//[^>]*>')
ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):<code>(~?)([\w.]+)</code>")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are outside docs/."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links that work on GitHub into those that the site needs."""
    return site_links(markdown, ROOT if page.file.src_uri in PAGES.values() else DOCS)


def on_page_content(html: str, **_: Any) -> str:
    """Turn Sphinx's roles in docstrings into links to what the same page describes."""

    def link(found: re.Match[str]) -> str:
        short, name = found.groups()
        last = name.rsplit(".", 1)[-1]
        label = f"<code>{last if short else name}</code>"
        ids = [i for i in (name, f"gpo_ray.{name}", f"gpo_ray.{last}") if f'id="{i}"' in html]
        return f'<a href="#{ids[0]}">{label}</a>' if ids else label

    return ROLE.sub(link, html)


def on_post_page(output: str, page: Any, **_: Any) -> None:
    """Refuse a page that loads anything from the network.

    Raises:
        PluginError: if it does; the message names the page and the first such element.
    """
    if found := LOADED.search(output):
        raise PluginError(f"{page.file.src_uri}: loads from the network: {found[0]}")


def site_links(markdown: str, folder: Path) -> str:
    """Turn the links of a file in a folder of the repository into those of the site.

    Pages are linked as the site names them; files and folders that the site does not hold are named by their
    paths, without a link. Links to nothing stay as they are, which a strict build refuses.
    """

    def link(found: re.Match[str]) -> str:
        text, target, anchor = found.groups(default="")
        path = (folder / target).resolve()
        if not path.exists() or not path.is_relative_to(ROOT):
            return found[0]
        name = path.relative_to(ROOT).as_posix()
        if name in PAGES:
            return f"[{text}]({PAGES[name]}{anchor})"
        if path.is_relative_to(DOCS):
            return f"[{text}]({path.relative_to(DOCS).as_posix()}{anchor})"
        return f"`{name}`" if text.strip("`/") in {name, path.name} else f"{text} (`{name}`)"

    return LINK.sub(link, markdown)
