"""The home page of the operations console: open issues and exposure.

Rules a change must keep: only operations see this page; it only counts what is open, so that
polling every few seconds stays cheap; amounts of different currencies are never added up.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from caas.billing_database import operations_counts, reconciliation_figures, self_check
from caas.billing_database.operations_counts import (
    AgedDiscrepancies,
    JobsOfKind,
    OpenCases,
    UnknownOutcome,
)
from caas.billing_database.reconciliation_figures import ExposureFigure, LossFigure
from caas.billing_database.self_check import InvariantResult
from caas.console.charts import Datum, bars
from caas.console.context import Console
from caas.console.formats import written
from caas.console.operations_cases import (
    OPERATIONS_ALERT_ROUTES,
    OPERATIONS_CASE_ROUTES,
    OPERATIONS_UNKNOWN_ROUTES,
    OPERATIONS_WORK_ROUTES,
)
from caas.console.operations_dispute import OPERATIONS_DISPUTE_ROUTES
from caas.console.operations_invoices import OPERATIONS_INVOICE_ROUTES
from caas.console.operations_payment import OPERATIONS_PAYMENT_ROUTES
from caas.console.operations_payments import OPERATIONS_PAYMENTS_ROUTES
from caas.console.operations_reconciliation import OPERATIONS_RECONCILIATION_ROUTES
from caas.console.operations_refunds import OPERATIONS_REFUND_ROUTES
from caas.console.operations_system import OPERATIONS_SYSTEM_ROUTES
from caas.console.operations_vehicle import OPERATIONS_VEHICLE_ROUTES
from caas.console.page_routes import OPERATIONS, PageRoute, get
from caas.console.request import PageRequest
from caas.rules.money import Money
from caas.rules.postings import OTHER
from caas.web.response import Response, nothing_new

LOSS_DAYS: Final = 30
CASES_SHOWN: Final = 8


class Overview(msgspec.Struct, frozen=True):
    """The counts of the page."""

    cases: list[OpenCases]
    unknown: list[UnknownOutcome]
    work: list[JobsOfKind]
    discrepancies: list[AgedDiscrepancies]
    invariants: list[InvariantResult]
    exposure: list[ExposureFigure]
    losses: list[LossFigure]
    now: datetime

    @property
    def version(self) -> str:
        """A value that changes with everything the page shows except the time."""
        parts = (self.cases, [one.payment.id for one in self.unknown],
                 [(one.kind, one.pieces, one.paused, one.overdue) for one in self.work],
                 self.discrepancies, self.invariants, self.exposure, self.losses)  # fmt: skip
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    @property
    def counts(self) -> dict[str, int]:
        """The numbers on the tiles."""
        return {
            "unknown": len(self.unknown),
            "cases": sum(one.cases for one in self.cases),
            "paused": sum(one.paused for one in self.work),
            "overdue": sum(one.overdue for one in self.work),
            "discrepancies": sum(one.discrepancies for one in self.discrepancies),
            "failed_checks": sum(one.broken > 0 for one in self.invariants),
        }


async def home(console: Console, request: PageRequest) -> Response:
    """Show what needs attention, with live updates."""
    return _page(console, request, await _situation(console), "operations/home.html")


async def home_live(console: Console, request: PageRequest) -> Response:
    """Return the live fragment if anything has changed."""
    situation = await _situation(console)
    if request.query.get("seen") == situation.version:
        return nothing_new()
    return _page(console, request, situation, "operations/home_live.html")


async def _situation(console: Console) -> Overview:
    database = console.platform.tables.database
    now = await operations_counts.now(database)
    return Overview(
        cases=await operations_counts.open_cases(database),
        unknown=await operations_counts.unknown_outcomes(database),
        work=await operations_counts.jobs(database),
        discrepancies=await operations_counts.aged_discrepancies(database, console.settings.zone),
        invariants=await self_check.last_checks(database),
        exposure=await reconciliation_figures.exposure(database),
        losses=await reconciliation_figures.losses(
            database, since=now - timedelta(days=LOSS_DAYS), until=now
        ),
        now=now,
    )


def _page(console: Console, request: PageRequest, situation: Overview, template: str) -> Response:
    t = console.renderer.translator(request.language)

    def money(amount: int, currency: str) -> str:
        return written(Money(amount, currency), request.language)

    exposure = _by_currency(
        situation.exposure,
        lambda one: Datum(
            t.named("payment_type", one.payment_type), one.amount, money(one.amount, one.currency)
        ),
    )
    losses = _by_currency(
        situation.losses,
        lambda one: Datum(
            t.named("loss", "any_other" if one.cause == OTHER else one.cause),
            one.amount,
            money(one.amount, one.currency),
            "bad",
        ),
    )
    ages = _by_currency(situation.discrepancies, lambda one: Datum(
        t(f"operations.days.{one.days}"), one.amount, money(one.amount, one.currency),
        "warn" if one.overdue else ""))  # fmt: skip
    cases = bars(
        Datum(t.named("case", one.kind), one.cases, str(one.cases), "warn",
              f"/operations/cases?kind={one.kind}")
        for one in situation.cases[:CASES_SHOWN]
    )  # fmt: skip
    return console.page(
        request,
        template,
        situation=situation,
        counts=situation.counts,
        exposure=exposure,
        losses=losses,
        ages=ages,
        cases=cases,
        loss_days=LOSS_DAYS,
        checked_at=min(
            (one.checked_at for one in situation.invariants if one.checked_at), default=None
        ),
        quiet=not any(situation.counts.values()),
    )


def _by_currency(figures: Sequence[Any], datum_of: Any) -> list[Any]:
    """Return one chart for each currency."""
    currencies = sorted({figure.currency for figure in figures})
    return [
        bars(datum_of(figure) for figure in figures if figure.currency == currency)
        for currency in currencies
    ]


OPERATIONS_ROUTES: Final[tuple[PageRoute, ...]] = (
    get("/operations", home, OPERATIONS),
    get("/operations/live", home_live, OPERATIONS),
    *OPERATIONS_PAYMENTS_ROUTES,
    *OPERATIONS_PAYMENT_ROUTES,
    *OPERATIONS_DISPUTE_ROUTES,
    *OPERATIONS_INVOICE_ROUTES,
    *OPERATIONS_REFUND_ROUTES,
    *OPERATIONS_UNKNOWN_ROUTES,
    *OPERATIONS_VEHICLE_ROUTES,
    *OPERATIONS_ALERT_ROUTES,
    *OPERATIONS_CASE_ROUTES,
    *OPERATIONS_WORK_ROUTES,
    *OPERATIONS_RECONCILIATION_ROUTES,
    *OPERATIONS_SYSTEM_ROUTES,
)
