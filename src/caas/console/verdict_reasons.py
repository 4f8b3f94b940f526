"""Why a day has its verdict, a run its end, and a line is kept aside, in the page's language.

Reasons are stored as English texts of closed lists, some with a number or a day, which the API
returns. Here each is a code with its arguments. A run that was refused states the sentence of its
error, and a line that a gateway sent malformed that of its decoder: they have no code and stay in
English.

Rules a change must keep: `REASONS` are the texts of the view `reconciliation_verdicts`; `OF_LINES`
are those of the formats of reports.
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


_REMARKS: Final = {
    "run_elsewhere": re.compile(
        r"Lines already stored in another report and not applied again: (?P<days>[^.]+)\. ?"
    ),
    "run_not_comparable": re.compile(
        r"Not comparable: the fees of (?P<n>\d+) line\(s\) are in another currency than their "
        r"payments, and no fee is agreed with this provider \(\./caas fees --help\)\. ?"
    ),
}
"""What a run remarks beside its counts, in this order."""
_OF_A_DAY: Final = re.compile(r"(?P<n>\d+) for (?P<day>[0-9-]+)")
OF_LINES: Final[Mapping[str, str]] = {
    "its line number is no whole number above zero": "line_number",
    "its batch is no identifier": "batch",
    "its own identifier is none": "own_id",
    "its transaction is no identifier": "transaction",
    "its reference is no identifier": "reference",
    "it holds an e-mail address": "address",
    "it holds a card number": "card_number",
    "nothing is known of its type": "type",
    "its currency is unknown": "currency",
    "its gross is no amount of its currency": "gross",
    "its fee is no amount of its currency": "fee",
    "its net is no amount of its currency": "net",
    "gross - fee is not net": "does_not_add_up",
    "the time it was booked at is none": "booked_at",
    "its value date is none": "value_date",
    "its gross is missing": "gross_missing",
    "its net is missing": "net_missing",
    "its amount for the customer is missing": "facing_missing",
    "its identifier is there twice and says different things": "twice",
    "its identifier is there twice; both rows say the same": "same",
    "it differs from the stored line with its number": "stored_otherwise",
}
"""The code of each reason why a line is kept aside."""
_OF_LINE_OF_DAY: Final = re.compile(
    r"it says other than the line with its identifier that is stored for (?P<day>[0-9-]+)"
)


class Reason(msgspec.Struct, frozen=True):
    """A reason by its code, with its arguments; without a code, an English sentence.

    `of_days` are numbers of lines by day.
    """

    code: str | None
    sentence: str
    number: int | None = None
    error: str = ""
    day: str = ""
    of_days: tuple[tuple[str, str], ...] = ()

    def written(self, t: Translator) -> str:
        """Return the reason in a language."""
        if self.code is None:
            return self.sentence
        days = ", ".join(
            t("verdict_reason.lines_of_day", lines=lines, day=day) for lines, day in self.of_days
        )
        facts = {"error": self.error, "day": self.day, "days": days}
        return t(f"verdict_reason.{self.code}", n=self.number, **facts)


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
    return _remarks(because) or [Reason(None, because)]


def reasons_of_line(reason: str) -> list[Reason]:
    """Return the reason why a line is kept aside."""
    if found := _OF_LINE_OF_DAY.fullmatch(reason):
        return [Reason("line_stored_for_day", reason, day=found["day"])]
    code = OF_LINES.get(reason)
    return [Reason(None if code is None else f"line_{code}", reason)]


def _remarks(because: str) -> list[Reason]:
    """Return a run's remarks; none if a part of the text is no known one."""
    remarks, rest = list[Reason](), because
    for code, pattern in _REMARKS.items():
        if found := pattern.match(rest):
            facts, rest = found.groupdict(), rest[found.end() :]
            number = facts.get("n")
            days = _OF_A_DAY.findall(facts.get("days", ""))
            remarks.append(
                Reason(code, found[0].strip(), int(number) if number else None, of_days=tuple(days))
            )
    return [] if rest else remarks


def _of_day(text: str) -> Reason:
    found = _OF_DAY.fullmatch(text)
    if found is None or found["text"] not in REASONS:
        return Reason(None, text)
    return Reason(REASONS[found["text"]], text, None if found["n"] is None else int(found["n"]))
