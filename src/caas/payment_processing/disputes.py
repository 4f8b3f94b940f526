"""Disputes: chargebacks of what was delivered (Common Discrepancy Scenarios; decision 37).

CaaS accepts the loss. A dispute is a child of its payment, which keeps its state. What the bank
took is booked as far as it fits what was received and is still there; the rest, the excess, is a
loss at once. When something else of the payment ends, more of a dispute may fit and is counted.

Rules a change must keep: every word about a dispute ends as a row, in any order and any number;
lost money is counted once; a word that is older than the last one followed changes nothing; whoever
lets money come back calls `fit_again` in the same commit.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from caas.billing_database.books import Books
from caas.billing_database.connection import Connection
from caas.billing_database.due_work import DueWork
from caas.billing_database.moves import move_of
from caas.billing_database.payments import Payment
from caas.billing_database.refunds import Dispute
from caas.billing_database.refunds import Refunds as RefundRows
from caas.billing_database.settlement_reports import StoredLine
from caas.external_systems.payment_gateway import DisputeStatus, GatewayDispute
from caas.open_work import Again, Answer, Done, OpenWork
from caas.rules import postings
from caas.rules.payment_states import PaymentState, Remark
from caas.rules.postings import Entry

FIT: Final = "fit_disputes"
FIT_SECONDS: Final = 60.0
STRANGER_SECONDS: Final = 30.0
CONTRADICTION: Final = "dispute_contradiction"
EXCESS: Final = "dispute_of_refunded"
NOT_TAKEN_YET: Final = frozenset(
    {PaymentState.INITIATED, PaymentState.PENDING, PaymentState.AUTHORIZED}
)
GATEWAY: Final = "gateway"
CHARGEBACK: Final = "chargeback"
HELD: Final = ("opened", "lost")

# From how far a dispute was to how far it is told to be: the remarks that lead there.
STEPS: Final[dict[tuple[str | None, DisputeStatus], tuple[Remark, ...]]] = {
    (None, DisputeStatus.OPENED): (Remark.DISPUTE_OPENED,),
    (None, DisputeStatus.WON): (Remark.DISPUTE_OPENED, Remark.DISPUTE_WON),
    (None, DisputeStatus.LOST): (Remark.DISPUTE_OPENED, Remark.DISPUTE_LOST),
    ("opened", DisputeStatus.WON): (Remark.DISPUTE_WON,),
    ("opened", DisputeStatus.LOST): (Remark.DISPUTE_LOST,),
    ("lost", DisputeStatus.WON): (Remark.DISPUTE_REVERSED,),
}
# What the bank may decide after all; believed only of a word that was said later than the last one.
STEPS_LATER: Final[dict[tuple[str | None, DisputeStatus], tuple[Remark, ...]]] = {
    (state, status): remarks
    for state in ("won", "reversed")
    for status, remarks in (
        (DisputeStatus.OPENED, (Remark.DISPUTE_OPENED,)),
        (DisputeStatus.LOST, (Remark.DISPUTE_OPENED, Remark.DISPUTE_LOST)),
    )
}
STATE_AFTER: Final = {
    Remark.DISPUTE_OPENED: "opened",
    Remark.DISPUTE_WON: "won",
    Remark.DISPUTE_LOST: "lost",
    Remark.DISPUTE_REVERSED: "reversed",
}


@dataclass(frozen=True, slots=True)
class _Step:
    """What one remark does: the dispute after it, what it adds to the loss, and its entries."""

    after: Dispute
    disputed: int
    entries: tuple[Entry, ...]


class Disputes:
    """Books what is argued about and what is lost."""

    def __init__(self, books: Books) -> None:
        """Keep disputes in these books."""
        self._books = books
        self._rows = RefundRows(books.database)

    def register(self, open_work: OpenWork) -> None:
        """Take the disputes that were told before their payment was captured."""
        open_work.register(FIT, self._fit_due)

    async def of(self, payment: Payment) -> list[Dispute]:
        """Return a payment's disputes, oldest first."""
        return await self._rows.disputes_of(payment.id)

    async def gateway_says(
        self, told: GatewayDispute, at: datetime | None = None, *, origin: str = GATEWAY
    ) -> Answer:
        """Follow what the gateway said of a dispute; `at` is when, where that is known."""
        payment = await self._books.payments.by_transaction(told.transaction_id)
        if payment is None:
            return Again(STRANGER_SECONDS, "the disputed payment is not known here")

        async def together(connection: Connection) -> None:
            await self._follow(payment.id, told, at, origin, connection)

        await self._books.database.in_transaction(together)
        return Done()

    async def line_says(self, payment: Payment, line: StoredLine) -> bool:
        """Lose what a line took, or undo the loss that it brings back; False: it is of no dispute.

        A line names no dispute: it is of the one of its amount, and of a new one only when more
        lines of the amount came than disputes are known.
        """
        claimed = (abs(line.gross), line.currency)
        back = line.gross > 0
        of_line = f"line:{line.report_id}:{line.line_no}"
        alike = [
            it
            for it in await self.of(payment)
            if (it.claimed_amount, it.claimed_currency) == claimed and it.state in HELD
        ]
        known = {it.id for it in alike}
        is_told = line.type == CHARGEBACK and of_line not in known
        if back or (is_told and await self._rows.lines_untold(payment.id, claimed) <= 0):
            held = sorted(alike, key=lambda it: (it.state == "lost") is not back)
            if not held:
                return not back
            of_line, origin = held[0].id, held[0].origin
        else:
            origin = "chargeback line" if line.type == CHARGEBACK else "refund line"
        told = GatewayDispute(
            id=of_line,
            transaction_id=payment.gateway_transaction_id or "",
            amount=claimed[0],
            currency=line.currency,
            status=DisputeStatus.WON if back else DisputeStatus.LOST,
            reason=f"{line.type} in a settlement report",
        )
        return isinstance(await self.gateway_says(told, origin=origin), Done)

    async def fit_again(self, payment_id: UUID, *, within: Connection) -> None:
        """Count more of the disputes that exceed what was received; the payment is locked."""
        payment = await self._books.payments.get(payment_id, within=within)
        for dispute in await self._rows.disputes_of(payment_id, within=within):
            room = payment.captured_amount - await self._rows.money_out(payment_id, within=within)
            more = min(dispute.excess, room)
            if dispute.state not in HELD or more <= 0:
                continue
            lost = dispute.state == "lost"
            step = _Step(
                replace(dispute, amount=dispute.amount + more, excess=dispute.excess - more),
                more if lost else 0,
                postings.dispute_counted(more, lost=lost),
            )
            await self._take(dispute, Remark.DISPUTE_COUNTED, step, within)
        await self._end_case(payment_id, within)
        await self._rows.wake(payment_id, within=within)

    async def _follow(
        self,
        payment_id: UUID,
        told: GatewayDispute,
        at: datetime | None,
        origin: str,
        connection: Connection,
    ) -> None:
        await self._rows.given_back(payment_id, within=connection)
        payment = await self._books.payments.get(payment_id, within=connection)
        claimed = (told.amount, told.currency or payment.currency)
        known = await self._rows.dispute_told(
            payment.id, told.id, claimed, by_gateway=origin == GATEWAY, within=connection
        )
        if told.amount <= 0:
            await self._contradiction(payment, told, "which is no amount", connection)
            return
        if known is not None and claimed != (known.claimed_amount, known.claimed_currency):
            await self._contradiction(
                payment, told, f"and of {known.claimed_amount} before", connection
            )
            if not _may_amend(known, told.status, claimed[1], at):
                return
            known = await self._amended(payment, known, at, claimed[0], connection)
        steps = _steps(known, told.status, at)
        gateway_id = told.id if origin == GATEWAY else None
        if not steps:
            if known is not None and known.gateway_dispute_id is None:
                await self._rows.told_dispute(known.id, at, gateway_id, within=connection)
            return
        if known is None:
            known = _new(payment, told, claimed, origin)
            await self._rows.add_dispute(known, within=connection)
            if known.claimed_currency != payment.currency:
                await self._contradiction(
                    payment, told, "which counts as all that is left", connection
                )
        for remark in steps:
            known = await self._step(payment, known, remark, connection)
        await self._rows.told_dispute(known.id, at, gateway_id, within=connection)
        await self._say_excess(payment, known, connection)
        if known.state not in HELD:
            await self.fit_again(payment.id, within=connection)
        elif known.state == "lost":
            await self._rows.wake(payment.id, within=connection)

    async def _amended(
        self,
        payment: Payment,
        known: Dispute,
        at: datetime | None,
        claimed: int,
        connection: Connection,
    ) -> Dispute:
        """Let what is held come back, and take the amount that the bank says now instead."""
        lost = known.state == "lost"
        back = Remark.DISPUTE_REVERSED if lost else Remark.DISPUTE_WON
        known = await self._step(payment, known, back, connection)
        await self._rows.amend_dispute(known.id, claimed, within=connection)
        known = replace(known, claimed_amount=claimed)
        known = await self._step(payment, known, Remark.DISPUTE_OPENED, connection)
        if lost:
            known = await self._step(payment, known, Remark.DISPUTE_LOST, connection)
        await self._rows.told_dispute(known.id, at, None, within=connection)
        await self._say_excess(payment, known, connection)
        await self.fit_again(payment.id, within=connection)
        return known

    async def _step(
        self, payment: Payment, dispute: Dispute, remark: Remark, connection: Connection
    ) -> Dispute:
        room = 0
        if remark is Remark.DISPUTE_OPENED:
            out = await self._rows.money_out(payment.id, within=connection)
            room = max(payment.captured_amount - out, 0)
        step = _after(dispute, remark, room)
        await self._take(dispute, remark, step, connection)
        return replace(step.after, steps=dispute.steps + 1)

    async def _take(
        self, dispute: Dispute, remark: Remark, step: _Step, connection: Connection
    ) -> None:
        """Write a step down: the payment's event and entries, and the dispute's row."""
        now = await self._books.payments.get(dispute.payment_id, within=connection)
        facts = {
            "dispute": dispute.id,
            "amount": step.after.amount,
            "excess": step.after.excess,
            "reason": dispute.reason,
            "claimed": [dispute.claimed_amount, dispute.claimed_currency],
        }
        moved = await self._books.moves.apply(
            move_of(
                now,
                remark,
                source=f"dispute:{dispute.id}:step:{dispute.steps + 1}",
                facts=facts,
                disputed=step.disputed,
                entries=step.entries,
            ),
            within=connection,
        )
        assert moved.moved, "the payment is locked, and each step of a dispute is taken once"
        await self._rows.step_dispute(step.after, within=connection)

    async def _contradiction(
        self, payment: Payment, told: GatewayDispute, besides: str, connection: Connection
    ) -> None:
        sentence = (
            f"The gateway speaks of a dispute of {told.amount} {told.currency}, {besides}; the "
            f"payment took {payment.captured_amount} {payment.currency}. No refund of it goes out "
            "before this case is resolved."
        )
        await self._books.cases.open(CONTRADICTION, payment.id, sentence, within=connection)

    async def _say_excess(self, payment: Payment, dispute: Dispute, connection: Connection) -> None:
        if dispute.state in HELD and dispute.excess > 0:
            sentence = (
                f"A dispute took {dispute.claimed_amount} {payment.currency}; {dispute.excess} of "
                "it is more than was received and is still there, and is booked as a loss. Contest "
                "it with the refund."
            )
            await self._books.cases.open(EXCESS, payment.id, sentence, within=connection)
            if payment.state in NOT_TAKEN_YET:
                await self._books.work.add(FIT, payment.id, within=connection)

    async def _fit_due(self, work: DueWork) -> Answer:
        """Look whether a payment that was disputed too early has been captured meanwhile."""

        async def together(connection: Connection) -> None:
            await self._rows.given_back(work.subject, within=connection)
            await self.fit_again(work.subject, within=connection)

        payment = await self._books.payments.get(work.subject)
        if payment.state in NOT_TAKEN_YET:
            return Again(FIT_SECONDS, f"the disputed payment is {payment.state}")
        await self._books.database.in_transaction(together)
        return Done()

    async def _end_case(self, payment_id: UUID, connection: Connection) -> None:
        disputes = await self._rows.disputes_of(payment_id, within=connection)
        if not any(it.excess > 0 and it.state in HELD for it in disputes):
            await self._books.cases.close(
                EXCESS,
                payment_id,
                resolution="No dispute exceeds what was received any more.",
                owner="caas",
                within=connection,
            )


def _steps(known: Dispute | None, status: DisputeStatus, at: datetime | None) -> tuple[Remark, ...]:
    """Say what a word adds to what is known; nothing, when it is older than what was followed."""
    state = known.state if known else None
    said_before = known.told_at if known else None
    if said_before is not None and at is not None and at < said_before:
        return ()
    later = said_before is not None and at is not None and at > said_before
    more = STEPS_LATER.get((state, status), ()) if later else ()
    return STEPS.get((state, status), more)


def _may_amend(known: Dispute, status: DisputeStatus, currency: str, at: datetime | None) -> bool:
    """Say whether another amount is the bank's newest word on what it holds."""
    if known.state not in HELD or currency != known.claimed_currency:
        return False
    if known.told_at is not None and at is not None and at != known.told_at:
        return at > known.told_at
    return (known.state, status) in STEPS


def _new(payment: Payment, told: GatewayDispute, claimed: tuple[int, str], origin: str) -> Dispute:
    amount, currency = claimed
    return Dispute(
        id=told.id,
        payment_id=payment.id,
        amount=0,
        currency=payment.currency,
        state="opened",
        reason=told.reason,
        opened_at=payment.updated_at,
        updated_at=payment.updated_at,
        claimed_amount=amount,
        claimed_currency=currency,
        excess=0,
        origin=origin,
    )


def _after(dispute: Dispute, remark: Remark, room: int) -> _Step:
    """Say what a remark makes of a dispute, when so much of the payment is still there."""
    after = replace(dispute, state=STATE_AFTER[remark])
    match remark:
        case Remark.DISPUTE_OPENED:
            same = dispute.claimed_currency == dispute.currency
            counts = min(dispute.claimed_amount, room) if same else room
            excess = dispute.claimed_amount - counts if same else 0
            entries = postings.dispute_opened(counts, excess=excess)
            taken = dispute.taken + 1
            return _Step(replace(after, amount=counts, excess=excess, taken=taken), 0, entries)
        case Remark.DISPUTE_WON:
            after = replace(after, back=dispute.back + 1)
            return _Step(after, 0, postings.dispute_won(dispute.amount, excess=dispute.excess))
        case Remark.DISPUTE_LOST:
            return _Step(after, dispute.amount, postings.dispute_lost(dispute.amount))
        case _:
            after = replace(after, back=dispute.back + 1)
            entries = postings.dispute_reversed(dispute.amount, excess=dispute.excess)
            return _Step(after, -dispute.amount, entries)
