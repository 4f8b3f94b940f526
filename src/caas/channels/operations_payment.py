"""One payment as operations see it: its flight recorder, where it is in Diagram 9, what is next.

Rules a change must keep: what is shown was written down by the rooms; what is done here goes
through a door of the payment; the living part asks for nothing more when the payment is at rest.
"""

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from caas.billing_database.decisions import OutcomeDecision
from caas.billing_database.entitlements import OrderTerm, TermChange
from caas.billing_database.flight_records import FlightRecord, record_of
from caas.billing_database.gateway_calls import GatewayCalls
from caas.channels import state_diagram
from caas.channels.acting import acted, told
from caas.channels.confirmation import asks, is_to_ask
from caas.channels.flight_recorder import Moment, Told, moments
from caas.channels.formats import written
from caas.channels.operations_refunds import REASONS, refund_offer
from caas.channels.page_routes import OPERATIONS, NothingHereError, PageRoute, get, post
from caas.channels.payment_view import PaymentView, view_of
from caas.channels.rooms import Channels
from caas.channels.sending_once import new_key
from caas.channels.visit import Visit
from caas.errors import NotFoundError
from caas.payment_processing import PaymentStatus
from caas.rules.money import Money
from caas.rules.payment_states import AT_REST, PaymentState
from caas.web.response import Response, nothing_new


@dataclass(frozen=True, slots=True)
class Flight:
    """Everything the page shows of a payment."""

    status: PaymentStatus
    view: PaymentView
    record: FlightRecord
    moments: list[Moment]
    decisions: list[OutcomeDecision]
    vin: str | None
    term: OrderTerm | None
    changes: list[TermChange]

    @property
    def is_open(self) -> bool:
        """Whether something of it may still change by itself."""
        return self.status.payment.state not in AT_REST or bool(self.record.work)

    @property
    def is_unknown(self) -> bool:
        """Whether nobody knows the outcome."""
        return self.status.payment.outcome == "unknown"

    @property
    def is_decidable(self) -> bool:
        """Whether two people may decide that nobody was charged."""
        return self.is_unknown and self.status.payment.state is PaymentState.PENDING

    @property
    def proposal(self) -> OutcomeDecision | None:
        """The decision that waits for a second person."""
        return next((one for one in self.decisions if one.state == "proposed"), None)

    @property
    def version(self) -> str:
        """What changes when anything of this changes."""
        work = sum(2 + one.attempts + bool(one.parked_at) for one in self.record.work)
        counts = (len(self.moments), work, len(self.decisions), len(self.changes))
        return "-".join(str(one) for one in (self.status.payment.version, *counts))


async def payment(channels: Channels, visit: Visit) -> Response:
    """Show a payment, live."""
    flight = await _flight(channels, visit)
    offer = await refund_offer(channels, visit, flight.status.payment, flight.term)
    return _page(
        channels, visit, flight, "operations/payment.html", refund=offer, refund_reasons=REASONS
    )


async def payment_live(channels: Channels, visit: Visit) -> Response:
    """Show the living part again, if anything has changed."""
    flight = await _flight(channels, visit)
    if visit.query.get("seen") == flight.version:
        return nothing_new()
    return _page(channels, visit, flight, "operations/payment_live.html")


async def probe_now(channels: Channels, visit: Visit) -> Response:
    """Have the gateway asked at once."""
    payment_id: UUID = visit.ids["payment_id"]

    async def act() -> None:
        await channels.rooms.payment_processing.probe_now(payment_id)
        channels.rooms.open_work.wake()

    return await acted(channels, visit, _path(payment_id), act)


async def propose(channels: Channels, visit: Visit) -> Response:
    """Propose, as the first person, that nobody was charged."""
    payment_id, two_people = visit.ids["payment_id"], channels.rooms.payment_processing.two_people
    note = visit.form.get("note", "")
    return await acted(
        channels, visit, _path(payment_id),
        lambda: two_people.propose(payment_id, note=note, by=visit.by.actor),
    )  # fmt: skip


async def agree(channels: Channels, visit: Visit) -> Response:
    """Agree as the second person, once confirmed."""
    flight = await _flight(channels, visit)
    if flight.proposal is not None and is_to_ask(visit, flight.proposal.proposed_account):
        due = Money(flight.status.payment.amount, flight.status.payment.currency)
        return asks(
            channels, visit, "agree", back=_path(visit.ids["payment_id"]),
            name=written(due, visit.language),
        )  # fmt: skip
    payment_id, two_people = visit.ids["payment_id"], channels.rooms.payment_processing.two_people

    async def act() -> None:
        await two_people.agree(payment_id, by=visit.by.actor)
        channels.rooms.open_work.wake()

    return await acted(channels, visit, _path(payment_id), act)


async def withdraw(channels: Channels, visit: Visit) -> Response:
    """Take a proposal back."""
    payment_id, two_people = visit.ids["payment_id"], channels.rooms.payment_processing.two_people
    return await acted(
        channels, visit, _path(payment_id),
        lambda: two_people.withdraw(payment_id, by=visit.by.actor),
    )  # fmt: skip


async def _flight(channels: Channels, visit: Visit) -> Flight:
    payment_id: UUID = visit.ids["payment_id"]
    rooms = channels.rooms
    try:
        status = await rooms.payment_processing.query_payment_status(payment_id)
    except NotFoundError as error:
        raise NothingHereError from error
    found = status.payment
    record = await record_of(
        rooms.books.database,
        found.id,
        subjects=[found.id, found.subject, *(refund.id for refund in status.refunds)],
        transaction_id=found.gateway_transaction_id,
        since=found.created_at,
    )
    calls = await GatewayCalls(rooms.books.database).of(found.id, found.gateway_transaction_id)
    decisions = await rooms.payment_processing.two_people.of(found.id)
    t = channels.renderer.translator(visit.language)
    line = moments(Told(status, record, calls, decisions), t)
    entitlements = rooms.books.entitlements
    term = await entitlements.of_order(found.subject)
    return Flight(
        status, view_of(found), record, line, decisions,
        vin=await entitlements.vehicle_of(found.subject), term=term,
        changes=await entitlements.changes(term.id) if term else [],
    )  # fmt: skip


def _page(channels: Channels, visit: Visit, flight: Flight, template: str, **more: Any) -> Response:
    return channels.page(
        visit, template, flight=flight, payment=flight.status.payment, view=flight.view,
        record=flight.record, diagram=state_diagram.drawn(
            flight.status.payment.state, flight.status.events
        ),
        moments=flight.moments, money_of=Money,
        is_decidable=flight.is_decidable, path=_path(flight.status.payment.id),
        key=new_key(), me=visit.by.account, after=told(channels, visit), **more,
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
