"""The documents: equal to the sources they are read off, and naming only what is there."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer
from docs import generate
from docs.generate import MARKED, ROOT, documents

from caas.external_systems.report_mappings import (
    LEFT_OUT,
    LINE_TYPES,
    Columns,
    ReportMapping,
    read_mapping,
)
from caas_lab.__main__ import program
from tests.conventions.references import broken_references
from tests.conventions.sources import Source, source, sources

DOCUMENTS = [path.relative_to(ROOT) for path in documents()]
OF_THE_SCRIPT = {"test", "check", "setup", "run", "help"}
COMMAND = re.compile(r"\./caas ([a-z][a-z-]*)(?:\s+([a-z-]+))?")
LINK = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")
FAULT = re.compile(r"\bF-[A-Z][0-9]+\b")
SETTING = re.compile(r"CAAS_[A-Z_]+[A-Z]")
BETWEEN_OURSELVES = {"CAAS_INDEX", "CAAS_PYTHON_SEARCHED"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_what_is_read_off_the_sources_is_up_to_date(document: Path) -> None:
    text = read(document)

    assert generate.filled(text) == text, "run `make docs`"


def test_every_block_stands_in_some_document() -> None:
    texts = "\n".join(read(document) for document in DOCUMENTS)

    assert {mark["name"] for mark in MARKED.finditer(texts)} == set(generate.BLOCKS)


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_what_a_document_names_is_there(document: Path) -> None:
    assert list(broken_references(read(document))) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_every_link_leads_somewhere(document: Path) -> None:
    text = read(document)

    astray = [
        f"{target}#{anchor}"
        for target, anchor in LINK.findall(text)
        if not leads_somewhere(ROOT / document, target, anchor)
    ]

    assert astray == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_every_command_that_is_shown_exists(document: Path) -> None:
    assert unknown_commands(read(document)) == set()


def test_every_command_that_a_message_names_exists() -> None:
    """A person types it as it stands there: `taxes` alone shows its help and no markets."""
    texts = [(file.path, text) for file in sources("src") for text in file.strings()]
    texts += [
        (str(path.relative_to(ROOT)), path.read_text("utf-8"))
        for kind in ("*.toml", "*.html")
        for path in (ROOT / "src").rglob(kind)
    ]

    assert {(where, it) for where, text in texts for it in unknown_commands(text)} == set()


def test_every_setting_is_described_and_every_one_described_is_read() -> None:
    files = (*sources("src/caas", "bootstrap"), source(ROOT / "caas"))
    read_here = {name for file in files for name in settings_of(file)}
    described = set(SETTING.findall(read(Path("docs/settings.md"))))

    assert described == read_here - BETWEEN_OURSELVES


def test_operations_know_what_to_do_about_every_alert_and_every_case() -> None:
    runbook = read(Path("docs/operations.md"))

    unknown = {
        kind
        for file in sources("src/caas")
        for kind in kinds_of_alerts(file)
        if f"`{kind}`" not in runbook
    }

    assert unknown == set()


def test_every_fault_that_is_cited_stands_in_the_list() -> None:
    listed = set(FAULT.findall(read(Path("docs/faults.md"))))

    unlisted = {
        fault
        for file in sources("src", "tests")
        for fault in FAULT.findall(file.text)
        if fault not in listed
    }

    assert unlisted == set()


@cache
def commands() -> dict[str, Any]:
    """Return the commands of the program by name; making them takes long."""
    return getattr(typer.main.get_command(program), "commands", {})


def unknown_commands(text: str) -> set[str]:
    """Return what a text shows as a command and is none: a group needs one of its commands."""
    known = commands()

    def exists(name: str, under: str) -> bool:
        of_group = getattr(known.get(name), "commands", None)
        return name in known and (of_group is None or under in of_group or under.startswith("--"))

    shown = {(name, under) for name, under in COMMAND.findall(text) if name not in OF_THE_SCRIPT}
    return {f"{name} {under}".strip() for name, under in shown if not exists(name, under)}


def leads_somewhere(document: Path, target: str, anchor: str) -> bool:
    """Say whether a link's file is there, and its heading in it."""
    path = (document.parent / target) if target else document
    if not path.exists():
        return False
    return not anchor or anchor in anchors(path.read_text("utf-8"))


def anchors(text: str) -> set[str]:
    """Return the anchors of a document's headings, as web pages show them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


def settings_of(file: Source) -> set[str]:
    """Return the names of settings that a file reads from an environment."""
    return {text for text in file.strings() if SETTING.fullmatch(text)}


def kinds_of_alerts(file: Source) -> set[str]:
    """Return the kinds of the alerts that a file raises and of the cases it opens."""
    constants = constants_of(file)
    kinds = set()
    for node in ast.walk(file.tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="alert" | "_alert"), args=[kind, *_]):
                kinds.add(named(kind, constants))
            case ast.Call(func=ast.Attribute(attr="open", value=cases), args=[kind, _, *_]):
                if ast.unparse(cases).endswith("cases"):
                    kinds.add(named(kind, constants))
            case _:
                continue
    return {kind for kind in kinds if kind}


def constants_of(file: Source) -> dict[str, object]:
    """Return the plain values that a file gives names to."""
    found: dict[str, object] = {}
    for node in ast.walk(file.tree):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            value = getattr(node, "value", None)
            if isinstance(target, ast.Name) and isinstance(value, ast.Constant):
                found[target.id] = value.value
    return found


def named(kind: ast.expr, constants: dict[str, object]) -> str:
    """Return the kind that a text or a constant of the file names, nothing for anything else."""
    value: object = kind.value if isinstance(kind, ast.Constant) else None
    if isinstance(kind, ast.Name):
        value = constants.get(kind.id)
    return value if isinstance(value, str) else ""


def read(document: Path) -> str:
    """Return a document's text."""
    return (ROOT / document).read_text("utf-8")


def test_the_page_on_mappings_explains_every_key_and_its_example_is_one() -> None:
    page = (ROOT / "docs/report-mappings.md").read_text()
    example = re.search(r"```json\n(.*?)```", page, re.DOTALL)
    keys = {field.name for it in (ReportMapping, Columns) for field in msgspec.structs.fields(it)}

    assert example is not None
    assert read_mapping(example[1]).columns.line_id == ["Payment ID", "Type"]
    assert {key for key in keys - {"columns"} if f"`{key}`" not in page} == set()
    assert {word for word in (*LINE_TYPES, LEFT_OUT) if f"`{word}`" not in page} == set()
