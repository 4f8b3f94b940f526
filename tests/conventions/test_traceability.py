"""The page that follows the integration document through the code: whole, naming what is there."""

import re

import pytest

from tests.conventions.references import CODE, QUOTED, TEST, broken_references
from tests.conventions.sources import ROOT, sources

PAGE = (ROOT / "docs" / "traceability.md").read_text("utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("| \n").split(" | ")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| item ")
]
DIAGRAMS = range(1, 12)
ARROWS = {1: 13, 2: 11, 3: 14, 4: 14, 5: 2, 6: 12, 7: 8, 8: 8, 9: 14, 10: 8, 11: 12}
"""How many arrows each diagram of the document has, counted by hand, notes left out."""
TABLES = {"C": 5, "M": 4, "R": 4, "F": 4, "O": 4, "K": 8, "S": 4, "I": 6, "D": 6, "A": 7, "G": 5,
          "E": 5, "U": 6}  # fmt: skip
"""How many rows each table and list of the document has; the page says which letter is which."""
GATEWAYS = {
    "caas.external_systems.payment_gateway",
    "caas.external_systems.seed_contract_gateway",
    "caas.external_systems.stripe_gateway",
}
MAY_TALK = re.compile(
    r"src/caas/(payment_processing|reconciliation|external_systems|app|platform|platform_inputs|startup_checks)\b"
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_item_names_its_code_and_its_tests(row: list[str]) -> None:
    _, code, tests = row

    assert all(CODE.fullmatch(name) for name in QUOTED.findall(code))
    assert all(TEST.fullmatch(name) for name in QUOTED.findall(tests))
    assert QUOTED.findall(code)
    assert QUOTED.findall(tests)


def test_everything_that_is_named_is_there() -> None:
    assert list(broken_references(PAGE)) == []


@pytest.mark.parametrize("number", DIAGRAMS)
def test_every_diagram_has_its_section(number: int) -> None:
    headings = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)

    assert any(re.search(rf"Diagrams? (\d+ and )?{number}\b", heading) for heading in headings)


def test_no_item_of_the_document_is_missing() -> None:
    there = {f"{number}.{n}" for number, arrows in ARROWS.items() for n in range(1, arrows + 1)}
    there |= {f"{letter}{n}" for letter, rows in TABLES.items() for n in range(1, rows + 1)}

    traced = [label for item, *_ in ROWS if " · " in item for label in labels(item)]

    assert set(traced) == there
    assert len(traced) == len(set(traced)), "an item stands in one row"


def labels(item: str) -> list[str]:
    """The numbers of the document's items that a row is about."""
    return item.partition(" · ")[0].split(", ")


def test_only_payment_processing_talks_to_the_gateway() -> None:
    others = [
        f"{source.path} imports {name}"
        for source in sources("src/caas")
        if not MAY_TALK.match(source.path)
        for name in source.imported()
        if name in GATEWAYS
    ]

    assert others == []
