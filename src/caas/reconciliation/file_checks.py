"""What a report file is held against before it is compared: the day asked for, and its own totals.

A file that was cut in half still reads well, and so does the file of another day; only what its
giver knows of it, or the dates in it, show that.

Rules a change must keep: nothing is guessed; a file that does not fit is refused with both sides
named, and nothing of it is applied.
"""

from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

from caas.errors import RefusedError
from caas.external_systems.reconciliation_workbench import Workbench
from caas.external_systems.reconciliation_workbench_reading import Days
from caas.external_systems.report_files import BadReportError
from caas.rules.money import Money, parse_decimal


class NetWithoutCurrencyError(RefusedError):
    """Write the currency of a net behind its amount, such as '24.88 EUR'."""

    code = "net_without_currency"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What whoever gives a file knows of it: how many rows it has, and its net by currency."""

    lines: int | None = None
    nets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a net without its currency, whoever tells it."""
        for net in self.nets:
            if not all(net.strip().partition(" ")):
                raise NetWithoutCurrencyError


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Whose report is read, and which day takes its lines: another one when it is sealed."""

    day: date
    lines_on: date
    zone: ZoneInfo

    @property
    def late_of(self) -> date | None:
        """Return the sealed day whose lines come late, if they do."""
        return self.day if self.lines_on != self.day else None


def check_file(bench: Workbench, where: Where, expected: Expected) -> None:
    """Hold a file that was read against what is known of it.

    Raises:
        BadReportError: it is of another day, or does not have the lines or the net that was told.
    """
    days = bench.days(where.zone.key)
    if days is not None:
        _check_days(days, where)
    if expected.lines is not None and bench.rows() != expected.lines:
        raise BadReportError(
            f"The file has {bench.rows()} lines after its header, and {expected.lines} were "
            "expected: it is not whole, or another one."
        )
    if expected.nets:
        _check_nets(bench.nets(), expected.nets)


def _check_days(days: Days, where: Where) -> None:
    """See that some row is of the day: of its own day, or of that of the payout it stands in."""
    if where.day in days.own or where.day in days.of_payouts:
        return
    begin, end = days.own[0], days.own[-1]
    span = str(begin) if begin == end else f"{begin} to {end}"
    raise BadReportError(
        f"The lines of the file are of {span}, and the day asked for is {where.day}: it is the "
        "report of another day."
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
            f"The lines of the file come to a net of {', '.join(different)}: it is not whole, or "
            "another one."
        )
