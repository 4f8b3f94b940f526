"""Stripe's balance transactions of a day, read as a settlement report.

Seed: `GET /settlements`; decision 33.

Rules a change must keep:
- Stripe gives no control totals: those of a page are the sums of what was fetched, and protect
  against nothing. A report is closed when the day is over on Stripe's side of the world, UTC.
- Payouts to the bank move no transaction's money and are left out.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Final

import msgspec

from caas.external_systems.payment_gateway import (
    QuarantinedLine,
    ReportStatus,
    SettlementLine,
    SettlementLineType,
    SettlementPage,
)
from caas.external_systems.stripe_wire import Currency, Id, Seconds, Signed, moment
from caas.rules.card_numbers import scrub

LINES_PER_PAGE: Final = 100
QUARANTINED_CHARS_MAX: Final = 500
PAYOUTS: Final = frozenset({"payout", "payout_reversal"})
_T = SettlementLineType
_TYPE_OF: Final = {
    "charge": _T.SETTLEMENT,
    "refund": _T.REFUND,
    "dispute": _T.CHARGEBACK,
    "dispute_reversal": _T.CHARGEBACK_REVERSAL,
    "fee": _T.FEE,
    "charge_failure": _T.SETTLEMENT_FAILURE,
}


class Source(msgspec.Struct, frozen=True):
    """The charge, refund or dispute that moved the money, expanded."""

    payment_intent: Id | None = None
    metadata: dict[str, str] = {}


class BalanceTransaction(msgspec.Struct, frozen=True):
    """One movement of the balance as Stripe writes it."""

    id: Id
    amount: Signed
    fee: Signed
    net: Signed
    currency: Currency
    created: Seconds
    available_on: Seconds
    reporting_category: str
    source: Source | str | None = None

    def __post_init__(self) -> None:
        """Refuse a movement that does not add up."""
        if self.amount - self.fee != self.net:
            raise ValueError("amount - fee is not net")

    def as_line(self, *, line_no: int, report_id: str) -> SettlementLine:
        """Return the port's value."""
        source = self.source if isinstance(self.source, Source) else Source()
        return SettlementLine(
            line_no=line_no,
            batch_id=f"{report_id}-{self.currency.upper()}",
            transaction_id=source.payment_intent,
            reference=source.metadata.get("reference"),
            type=_TYPE_OF.get(self.reporting_category, _T.ADJUSTMENT),
            gross=self.amount,
            fee=self.fee,
            net=self.net,
            currency=self.currency.upper(),
            booked_at=moment(self.created),
            value_date=moment(self.available_on).date(),
        )


class BalancePage(msgspec.Struct, frozen=True):
    """A page of movements, the newest first, still undecoded."""

    data: Annotated[list[msgspec.Raw], msgspec.Meta(max_length=LINES_PER_PAGE)]
    has_more: bool


class Position(msgspec.Struct, frozen=True):
    """Where the next page begins: even a movement that cannot be read has an id."""

    id: Id


BALANCE_PAGE_DECODER: Final = msgspec.json.Decoder(BalancePage)
_MOVEMENT_DECODER: Final = msgspec.json.Decoder(BalanceTransaction)
_POSITION_DECODER: Final = msgspec.json.Decoder(Position)


def query_of(day: date, after: str | None) -> str:
    """Return the query of one page of a day's movements."""
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
    end = begin + timedelta(days=1)
    query = (
        f"?limit={LINES_PER_PAGE}&created%5Bgte%5D={int(begin.timestamp())}"
        f"&created%5Blt%5D={int(end.timestamp())}&expand%5B%5D=data.source"
    )
    return query if after is None else f"{query}&starting_after={after}"


def next_position(page: BalancePage) -> str | None:
    """Return the id after which the next page begins, or None after the last."""
    if not page.has_more or not page.data:
        return None
    return _POSITION_DECODER.decode(page.data[-1]).id


def report(day: date, movements: Sequence[msgspec.Raw], *, now: datetime) -> SettlementPage:
    """Number a day's movements, the oldest first, and add them up."""
    report_id = f"stripe-{day.isoformat()}"
    lines: list[SettlementLine] = []
    quarantined: list[QuarantinedLine] = []
    for position, raw in enumerate(reversed(movements)):
        try:
            movement = _MOVEMENT_DECODER.decode(raw)
        except msgspec.MsgspecError as error:
            text = scrub(bytes(raw).decode("utf-8", "replace"))[:QUARANTINED_CHARS_MAX]
            quarantined.append(QuarantinedLine(position=position, reason=str(error), text=text))
            continue
        if movement.reporting_category not in PAYOUTS:
            lines.append(movement.as_line(line_no=len(lines) + 1, report_id=report_id))
    return SettlementPage(
        report_id=report_id,
        date=day,
        status=ReportStatus.CLOSED if now.astimezone(UTC).date() > day else ReportStatus.OPEN,
        line_count=len(lines),
        gross_total=sum(line.gross for line in lines),
        net_total=sum(line.net for line in lines),
        lines=tuple(lines),
        quarantined=tuple(quarantined),
        next_cursor=None,
    )
