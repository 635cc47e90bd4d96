"""The site of docs/: what the API reference lists, and the links that the site needs changed."""

import re

import pytest
from mkdocs.exceptions import PluginError
from site_hooks import DOCS, ROOT, on_page_content, on_post_page, site_links

import gpo_ray
from gpo_ray import errors

NAMED = re.compile(r"(?<![\w./-])(?:gpo_ray|benchmarks|cluster|docs|examples|scripts)/[\w./-]*\w")
REFERENCE = (DOCS / "reference.md").read_text()


class Page:
    """A page, as far as hooks look at it."""

    class file:  # noqa: N801
        src_uri = "guide.md"


def test_the_reference_lists_every_public_name_and_no_other():
    listed = re.findall(r"^::: gpo_ray\.(\w+)$", REFERENCE, re.MULTILINE)
    assert sorted(listed) == sorted(gpo_ray.__all__)


def test_every_error_is_public():
    tree = {
        name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)
    }
    assert tree <= set(gpo_ray.__all__)


def test_every_name_of_the_reference_has_a_docstring():
    for name in gpo_ray.__all__:
        if name != "__version__":
            assert getattr(gpo_ray, name).__doc__


@pytest.mark.parametrize("file", [*sorted(DOCS.glob("*.md")), ROOT / "README.md"], ids=lambda f: f.stem)
def test_files_that_a_page_names_are_there(file):
    named = set(NAMED.findall(file.read_text()))
    gone = {name for name in named if not (ROOT / name).exists()}
    assert not {name for name in gone if "NAME" not in name and "secrets/" not in name}  # the user's own


@pytest.mark.parametrize(
    ("folder", "link", "becomes"),
    [
        (ROOT, "[words](docs/glossary.md)", "[words](glossary.md)"),
        (ROOT, "![Page](docs/page.png)", "![Page](page.png)"),
        (ROOT, "[files](CONTRIBUTING.md#files)", "[files](contributing.md#files)"),
        (DOCS, "[files](../CONTRIBUTING.md#files)", "[files](contributing.md#files)"),
        (DOCS, "[home](../README.md)", "[home](index.md)"),
        (DOCS, "[search](performance.md#a-search)", "[search](performance.md#a-search)"),
        (DOCS, "[below](#below)", "[below](#below)"),
        (DOCS, "[Ray](https://www.ray.io)", "[Ray](https://www.ray.io)"),
        (DOCS, "[gpo_ray/api.py](../gpo_ray/api.py)", "`gpo_ray/api.py`"),
        (DOCS, "[cluster/](../cluster)", "`cluster`"),
        (DOCS, "[settings](../cluster/serve/config.yaml)", "settings (`cluster/serve/config.yaml`)"),
        (DOCS, "[gone](../nowhere.md)", "[gone](../nowhere.md)"),
        (DOCS, "[out](../../..)", "[out](../../..)"),
    ],
)
def test_links_are_those_that_the_site_needs(folder, link, becomes):
    assert site_links(f"See {link}, and go on.", folder) == f"See {becomes}, and go on."


def test_roles_in_docstrings_are_links_where_the_page_has_the_name():
    html = '<h3 id="gpo_ray.DataError"></h3>'
    link = '<a href="#gpo_ray.DataError"><code>DataError</code></a>'
    for role, becomes in {
        "class:<code>~gpo_ray.errors.DataError</code>": link,
        "class:<code>DataError</code>": link,
        "func:<code>~gpo_ray.prior.calibrated</code>": "<code>calibrated</code>",
        "mod:<code>gpo_ray.lm.cache</code>": "<code>gpo_ray.lm.cache</code>",
    }.items():
        assert on_page_content(f"{html}:{role}") == f"{html}{becomes}"


@pytest.mark.parametrize(
    "element",
    [
        '<script src="https://example.org/a.js">',
        '<img alt="badge" src="//example.org/badge.svg">',
        '<link rel="stylesheet" href="https://example.org/font.css">',
    ],
)
def test_a_page_that_loads_from_the_network_is_refused(element):
    with pytest.raises(PluginError, match=r"guide\.md: loads from the network: <"):
        on_post_page(f"<html>{element}</html>", Page)


def test_a_page_may_link_to_others():
    on_post_page('<a href="https://www.ray.io">Ray</a><img src="page.png"><script src="a.js">', Page)
