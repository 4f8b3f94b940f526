"""A payment for operations: timeline, state in Diagram 9, next jobs and decisions.

Rules a change must keep: the page shows what the subsystems recorded; actions go through the
payment's public functions; the live fragment is not polled for a payment that is final.
"""

from typing import Any, Final
from uuid import UUID

import msgspec

from caas.billing_database.decisions import OutcomeDecision
from caas.billing_database.entitlements import OrderTerm, TermChange
from caas.billing_database.gateway_calls import GatewayCalls
from caas.billing_database.payment_audit_trail import PaymentAuditTrail, record_of
from caas.console import charts
from caas.console.context import Console
from caas.console.form_actions import acted, asks, form_result, is_to_ask, new_key
from caas.console.formats import written
from caas.console.operations_refunds import REASONS, refund_offer
from caas.console.page_routes import OPERATIONS, NothingHereError, PageRoute, get, post
from caas.console.payment_timeline import Moment, TimelineSource, moments
from caas.console.payment_view import PaymentView, view_of
from caas.console.request import PageRequest
from caas.errors import NotFoundError
from caas.payment_processing import PaymentStatus
from caas.rules.money import Money
from caas.rules.payment_states import AT_REST, PaymentState
from caas.web.response import Response, nothing_new


class PaymentTrail(msgspec.Struct, frozen=True):
    """The data of the page."""

    status: PaymentStatus
    view: PaymentView
    record: PaymentAuditTrail
    moments: list[Moment]
    decisions: list[OutcomeDecision]
    vin: str | None
    term: OrderTerm | None
    changes: list[TermChange]

    @property
    def is_open(self) -> bool:
        """Whether it may change without an action of a person."""
        return self.status.payment.state not in AT_REST or bool(self.record.work)

    @property
    def is_unknown(self) -> bool:
        """Whether the outcome is unknown."""
        return self.status.payment.outcome == "unknown"

    @property
    def is_decidable(self) -> bool:
        """Whether two people may decide that nothing was charged."""
        return self.is_unknown and self.status.payment.state is PaymentState.PENDING

    @property
    def proposal(self) -> OutcomeDecision | None:
        """The decision that awaits a second person."""
        return next((one for one in self.decisions if one.state == "proposed"), None)

    @property
    def version(self) -> str:
        """A value that changes with everything the page shows."""
        work = sum(2 + one.attempts + bool(one.paused_at) for one in self.record.work)
        counts = (len(self.moments), work, len(self.decisions), len(self.changes))
        return "-".join(str(one) for one in (self.status.payment.version, *counts))


async def payment(console: Console, request: PageRequest) -> Response:
    """Show a payment, with live updates."""
    trail = await _trail(console, request)
    offer = await refund_offer(console, request, trail.status.payment, trail.term)
    disputes = await console.platform.dispute_evidence.offered(trail.status.payment.id)
    return _page(
        console, request, trail, "operations/payment.html", refund=offer, refund_reasons=REASONS,
        disputes=disputes,
    )  # fmt: skip


async def payment_live(console: Console, request: PageRequest) -> Response:
    """Return the live fragment if anything has changed."""
    trail = await _trail(console, request)
    if request.query.get("seen") == trail.version:
        return nothing_new()
    return _page(console, request, trail, "operations/payment_live.html")


async def probe_now(console: Console, request: PageRequest) -> Response:
    """Query the gateway at once."""
    payment_id: UUID = request.ids["payment_id"]

    async def act() -> None:
        await console.platform.payment_processing.unknown_outcomes.probe_now(payment_id)
        console.platform.jobs.wake()

    return await acted(console, request, _path(payment_id), act)


async def propose(console: Console, request: PageRequest) -> Response:
    """Propose, as the first person, that nothing was charged."""
    payment_id, outcome_approval = (
        request.ids["payment_id"],
        console.platform.payment_processing.outcome_approval,
    )
    note = request.form.get("note", "")
    return await acted(
        console, request, _path(payment_id),
        lambda: outcome_approval.propose(payment_id, note=note, by=request.by.actor),
    )  # fmt: skip


async def agree(console: Console, request: PageRequest) -> Response:
    """Approve as the second person, once confirmed."""
    trail = await _trail(console, request)
    if trail.proposal is not None and is_to_ask(request, trail.proposal.proposed_account):
        due = Money(trail.status.payment.amount, trail.status.payment.currency)
        return asks(
            console, request, "agree", back=_path(request.ids["payment_id"]),
            name=written(due, request.language),
        )  # fmt: skip
    payment_id, outcome_approval = (
        request.ids["payment_id"],
        console.platform.payment_processing.outcome_approval,
    )

    async def act() -> None:
        await outcome_approval.agree(payment_id, by=request.by.actor)
        console.platform.jobs.wake()

    return await acted(console, request, _path(payment_id), act)


async def withdraw(console: Console, request: PageRequest) -> Response:
    """Withdraw a proposal."""
    payment_id, outcome_approval = (
        request.ids["payment_id"],
        console.platform.payment_processing.outcome_approval,
    )
    return await acted(
        console, request, _path(payment_id),
        lambda: outcome_approval.withdraw(payment_id, by=request.by.actor),
    )  # fmt: skip


async def _trail(console: Console, request: PageRequest) -> PaymentTrail:
    payment_id: UUID = request.ids["payment_id"]
    platform = console.platform
    try:
        status = await platform.payment_processing.query_payment_status(payment_id)
    except NotFoundError as error:
        raise NothingHereError from error
    found = status.payment
    record = await record_of(
        platform.tables.database,
        found.id,
        subjects=[found.id, found.subject, *(refund.id for refund in status.refunds)],
        transaction_id=found.gateway_transaction_id,
        since=found.created_at,
    )
    calls = await GatewayCalls(platform.tables.database).of(found.id, found.gateway_transaction_id)
    decisions = await platform.payment_processing.outcome_approval.of(found.id)
    t = console.renderer.translator(request.language)
    line = moments(TimelineSource(status, record, calls, decisions), t)
    entitlements = platform.tables.entitlements
    term = await entitlements.of_order(found.subject)
    return PaymentTrail(
        status, view_of(found), record, line, decisions,
        vin=await entitlements.vehicle_of(found.subject), term=term,
        changes=await entitlements.changes(term.id) if term else [],
    )  # fmt: skip


def _page(
    console: Console, request: PageRequest, trail: PaymentTrail, template: str, **more: Any
) -> Response:
    return console.page(
        request, template, trail=trail, payment=trail.status.payment, view=trail.view,
        record=trail.record, diagram=charts.drawn(
            trail.status.payment.state, trail.status.events
        ),
        moments=trail.moments, money_of=Money,
        is_decidable=trail.is_decidable, path=_path(trail.status.payment.id),
        key=new_key(), me=request.by.account, after=form_result(console, request), **more,
    )  # fmt: skip


def _path(payment_id: UUID) -> str:
    return f"/operations/payments/{payment_id}"


OPERATIONS_PAYMENT_ROUTES: Final[tuple[PageRoute, ...]] = (
    get("/operations/payments/{payment_id:uuid}", payment, OPERATIONS),
    get("/operations/payments/{payment_id:uuid}/live", payment_live, OPERATIONS),
    post("/operations/payments/{payment_id:uuid}/probe", probe_now, OPERATIONS),
    post("/operations/payments/{payment_id:uuid}/propose", propose, OPERATIONS),
    post("/operations/payments/{payment_id:uuid}/agree", agree, OPERATIONS),
    post("/operations/payments/{payment_id:uuid}/withdraw", withdraw, OPERATIONS),
)
