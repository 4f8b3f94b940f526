"""The decision records: short, whole, and there for every number that is cited."""

import re

from tests.conventions.sources import ROOT, sources

RECORDS = ROOT / "docs" / "decisions"
RECORD_LINES_MAX = 40
PARTS = ("Context", "Decision", "Consequences")


def test_every_decision_that_is_cited_has_its_record() -> None:
    there = {int(path.name[:4]) for path in RECORDS.glob("[0-9][0-9][0-9][0-9]-*.md")}

    missing = [
        f"{source.path} cites decision {number}"
        for source in sources("src", "tests")
        for number in re.findall(r"\b[Dd]ecision (\d+)", source.text)
        if int(number) not in there
    ]

    assert missing == []


def test_every_record_is_short_and_whole() -> None:
    records = {path.name: path.read_text() for path in RECORDS.glob("[0-9]*.md")}

    too_long = [name for name, text in records.items() if text.count("\n") > RECORD_LINES_MAX]
    in_parts = [name for name, text in records.items() if any(part not in text for part in PARTS)]

    assert records
    assert too_long == []
    assert in_parts == []


def test_a_number_names_one_record() -> None:
    numbers = [path.name[:4] for path in RECORDS.glob("[0-9]*.md")]

    assert sorted(set(numbers)) == sorted(numbers)
