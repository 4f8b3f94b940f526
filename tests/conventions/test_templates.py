"""A template names only what its page gives it: any other variable makes the page an error 500."""

import ast
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from jinja2 import meta, nodes

from caas.console import rendering
from tests.conventions.sources import Source, sources

RENDERING = Path(rendering.__file__)
TEMPLATES = RENDERING.with_name("templates")
ENVIRONMENT = rendering._environment("en", ZoneInfo("Europe/Madrid"))


def _strings(source: Source) -> set[str]:
    return {
        node.value
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def _keywords(tree: ast.AST) -> set[str]:
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {keyword.arg for call in calls for keyword in call.keywords if keyword.arg}


PAGES = [
    (source, template)
    for source in sources("src/caas/console")
    for template in sorted(_strings(source))
    if template.endswith(".html")
]
ALWAYS_GIVEN = {*ENVIRONMENT.globals, *_keywords(ast.parse(RENDERING.read_text("utf-8")))}


@pytest.mark.parametrize(
    ("page", "template"), PAGES, ids=[f"{page.path}-{template}" for page, template in PAGES]
)
def test_a_page_gives_its_template_every_variable(page: Source, template: str) -> None:
    given = _keywords(page.tree) | _strings(page)  # a page may build its values as a dictionary

    assert needed(template) - given - ALWAYS_GIVEN == set()


def needed(template: str) -> set[str]:
    """Return the variables a template needs, with those of what it extends and includes."""
    tree = ENVIRONMENT.parse((TEMPLATES / template).read_text("utf-8"))
    names = meta.find_undeclared_variables(tree)
    for other in tree.find_all((nodes.Extends, nodes.Include)):
        assert isinstance(other, nodes.Extends | nodes.Include)
        if isinstance(other.template, nodes.Const):
            names |= needed(other.template.value)
    return names - _defined(tree) - _with_default(tree)


def _defined(tree: nodes.Template) -> set[str]:
    """Return the names that a template imports, sets or defines for the blocks inside it."""
    imported = {
        name if isinstance(name, str) else name[1]
        for one in tree.find_all(nodes.FromImport)
        for name in one.names
    }
    stored = {one.name for one in tree.find_all(nodes.Name) if one.ctx == "store"}
    return imported | stored | {one.name for one in tree.find_all(nodes.Macro)}


def _with_default(tree: nodes.Template) -> set[str]:
    """Return the names that may be missing."""
    return {
        one.node.name
        for one in tree.find_all(nodes.Filter)
        if one.name == "default" and isinstance(one.node, nodes.Name)
    }
