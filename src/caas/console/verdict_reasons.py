"""Why a day has its verdict, and why a run ended, in the language of the page.

The database states reasons as English texts of a closed list, some with a number, which the API
returns. Here each is a code with its arguments. A run that was refused states the sentence of its
error, which has no code and stays in English.

Rule a change must keep: `REASONS` are the texts of the view `reconciliation_verdicts`.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from caas.console.languages import Translator

REASONS: Final[Mapping[str, str]] = {
    "no settlement report has come": "no_report",
    "a report is still open": "open_report",
    "our records were not compared yet": "not_compared",
    "a report lacks lines": "lacks_lines",
    "lines that could not be read": "unreadable",
    "lines that contradict what is stored": "contradicting",
    "rows with an identifier that is there twice": "repeated",
    "not resolved": "not_resolved",
    "not carried out": "not_carried_out",
}
"""The code of each text; a number may follow it."""
_OF_DAY: Final = re.compile(r"(?P<text>[^:]+)(: (?P<n>\d+))?")
_OF_RUN: Final = {
    "ended": re.compile(r"the process that ran it ended before it did"),
    "interrupted": re.compile(r"it was interrupted; run it again to resume"),
    "failed": re.compile(r"unexpected error \((?P<error>\w+)\); see the log"),
}


class Reason(msgspec.Struct, frozen=True):
    """A reason by its code, with its number or error; without a code, an English sentence."""

    code: str | None
    sentence: str
    number: int | None = None
    error: str = ""

    def written(self, t: Translator) -> str:
        """Return the reason in a language."""
        if self.code is None:
            return self.sentence
        return t(f"verdict_reason.{self.code}", n=self.number, error=self.error)


def reasons_of_day(because: str | None) -> list[Reason]:
    """Return the reasons of a day's verdict."""
    return [_of_day(text) for text in because.split("; ")] if because else []


def reasons_of_run(because: str | None) -> list[Reason]:
    """Return the reason why a run did not end as it should, or its remarks."""
    if not because:
        return []
    for code, pattern in _OF_RUN.items():
        if found := pattern.fullmatch(because):
            return [Reason(f"run_{code}", because, error=found.groupdict().get("error", ""))]
    return [Reason(None, because)]


def _of_day(text: str) -> Reason:
    found = _OF_DAY.fullmatch(text)
    if found is None or found["text"] not in REASONS:
        return Reason(None, text)
    return Reason(REASONS[found["text"]], text, None if found["n"] is None else int(found["n"]))
