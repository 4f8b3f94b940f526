"""Checks a report file before it is compared: its day, row count and net totals.

A truncated file and a file of another day can both be well-formed; only its dates and the totals
given by the user reveal them.

Rule a change must keep: a file that does not fit is refused with both values, and not applied.
"""

from datetime import date
from zoneinfo import ZoneInfo

import msgspec

from caas.errors import RefusedError
from caas.external_systems.reconciliation_workbench import Workbench
from caas.external_systems.reconciliation_workbench_reading import Days
from caas.external_systems.report_files import BadReportError
from caas.rules.money import Money, parse_decimal


class NetWithoutCurrencyError(RefusedError):
    """Write the currency after each net amount, for example '24.88 EUR'."""

    code = "net_without_currency"


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What the user expects of a file: its number of rows, and its net by currency."""

    lines: int | None = None
    nets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Reject a net without a currency."""
        for net in self.nets:
            if not all(net.strip().partition(" ")):
                raise NetWithoutCurrencyError


class Where(msgspec.Struct, frozen=True, kw_only=True):
    """Whose report is read, and which day takes its lines if the day is sealed."""

    day: date
    lines_on: date
    zone: ZoneInfo

    @property
    def late_of(self) -> date | None:
        """Return the sealed day whose lines arrive late, if any."""
        return self.day if self.lines_on != self.day else None


def check_file(bench: Workbench, where: Where, expected: Expected) -> None:
    """Check a file against what is expected of it.

    Raises:
        BadReportError: the file is of another day, or its row count or net differs.
    """
    days = bench.days(where.zone.key)
    if days is not None:
        _check_days(days, where)
    if expected.lines is not None and bench.rows() != expected.lines:
        raise BadReportError(
            f"The file has {bench.rows()} lines after its header, expected "
            f"{expected.lines}. It is incomplete or another file."
        )
    if expected.nets:
        _check_nets(bench.nets(), expected.nets)


def _check_days(days: Days, where: Where) -> None:
    """Check that at least one row belongs to the day, by its own date or that of its payout."""
    if where.day in days.own or where.day in days.of_payouts:
        return
    begin, end = days.own[0], days.own[-1]
    span = str(begin) if begin == end else f"{begin} to {end}"
    raise BadReportError(
        f"The file's lines are of {span}, but the requested day is {where.day}. It "
        "is the report of another day."
    )


def _check_nets(nets: dict[str, int], expected: tuple[str, ...]) -> None:
    wanted: dict[str, int] = {}
    for text in expected:
        amount, _, currency = text.strip().partition(" ")
        code = currency.strip().upper()
        wanted[code] = parse_decimal(amount, code).amount
    different = [
        f"{Money(nets.get(code, 0), code)} instead of {Money(amount, code)}"
        for code, amount in sorted(wanted.items())
        if nets.get(code, 0) != amount
    ]
    if different:
        raise BadReportError(
            f"The net of the file's lines is {', '.join(different)}. It is "
            "incomplete or another file."
        )
