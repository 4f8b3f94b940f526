"""How every payment's next step is applied, whichever call to the gateway it came from.

A move is applied alone or, with what a flow adds to it, in one transaction; what could not be
asked of the gateway is put off, and what it did not answer is written down as unknown.

Rules a change must keep: a payment is described by what was committed, never by what was hoped; an
outcome nobody knows is a remark and a probe, never another state (decision 3); what a retry needs
to know of the attempts before it stands in its open work.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from caas.billing_database.books import Books
from caas.billing_database.connection import Connection
from caas.billing_database.identifiers import derived_id
from caas.billing_database.moves import Move, Moved, Work, move_of
from caas.billing_database.payments import Payment
from caas.external_systems.payment_gateway import PaymentGateway
from caas.payment_processing.flow import Alert, Step
from caas.payment_processing.gateway_calls import COMPENSATE, PROBE, Refused, Unanswered
from caas.rules.pace import Pace
from caas.rules.payment_states import PaymentState, Remark
from caas.rules.settlement_polls import PollTerms

FIRST_PROBE_SECONDS: Final = 1.0
REFUSED_SECONDS: Final = 300.0
OUTCOME_UNKNOWN: Final = "gateway_outcome_unknown"
REFUSES: Final = "gateway_refuses"
DEFAULT_POLLS: Final = PollTerms()
ENDED: Final = frozenset({PaymentState.FAILED, PaymentState.VOIDED})


class Applying:
    """What authorising, committing and voiding share: the books, the gateway, and how to move."""

    def __init__(
        self,
        books: Books,
        gateway: PaymentGateway,
        *,
        pace: Pace,
        alert: Alert,
        polls: PollTerms = DEFAULT_POLLS,
    ) -> None:
        """Charge through this gateway and record in these books."""
        self.first_poll_seconds = pace.seconds(polls.wait_before(0))
        self._books = books
        self._gateway = gateway
        self._pace = pace
        self._alert = alert

    async def apply(self, payment: Payment, move: Move, *, step: Step | None = None) -> Payment:
        """Apply a move with the step a flow adds to it; return the payment as it stands."""
        return (await self.try_to_apply(payment, move, step=step))[0]

    async def try_to_apply(
        self, payment: Payment, move: Move, *, step: Step | None = None
    ) -> tuple[Payment, bool]:
        """Apply a move; return the payment as it stands, and whether this move brought it there."""
        if step is None:
            after, moved = await self._apply(payment, move)
        else:
            after, moved = await self._apply(payment, _with_step(move, step), also=step.also)
        return after, moved.moved

    async def in_doubt(self, payment: Payment, operation: str, because: str) -> Payment:
        """Say at once that a call had no answer, while it is still tried (decision 62).

        What somebody else has moved meanwhile is left as it is.
        """
        if payment.outcome == "unknown":
            return payment
        move = move_of(
            payment,
            Remark.OUTCOME_UNKNOWN,
            source=f"unknown:{operation}:{payment.version}",
            if_version=payment.version,
            outcome="unknown",
            facts={"operation": operation, "because": because},
        )
        after = (await self._apply(payment, move))[0]
        return after if after.state is payment.state else payment

    async def leave_unknown(
        self,
        payment: Payment,
        operation: str,
        because: str,
        *,
        transaction_id: str | None = None,
        issue: int = 1,
    ) -> Payment:
        """Write down that nobody knows what became of an operation; it is looked up from now on."""
        await self._alert(OUTCOME_UNKNOWN, payment.id, because)
        first_probe = self._pace.seconds(FIRST_PROBE_SECONDS)
        if payment.outcome == "unknown" and transaction_id is None:
            await self._probe_instead(payment, operation, first_probe, issue)
            return payment
        move = move_of(
            payment,
            Remark.OUTCOME_UNKNOWN,
            source=f"unknown:{operation}:{payment.version}",
            outcome="unknown",
            facts={"operation": operation, "because": because},
            gateway_transaction_id=transaction_id,
            done=(operation,),
            next=(Work(PROBE, first_probe, {"operation": operation, "issue": issue}),),
        )
        after = (await self._apply(payment, move))[0]
        await self.close_if_known(after)
        return after

    async def close_if_known(self, payment: Payment) -> None:
        """Close the case of an unknown outcome once it is known, whoever opened the case late."""
        if payment.outcome == "known":
            await self._books.cases.close(
                OUTCOME_UNKNOWN,
                payment.id,
                resolution=f"The outcome became known; the payment is {payment.state}.",
                owner="caas",
            )

    async def _probe_instead(
        self, payment: Payment, operation: str, due_in: float, issue: int
    ) -> None:
        """Look it up from now on instead of trying it again; that it is unknown is written."""
        asked = {"operation": operation, "issue": issue}
        await self._books.work.postpone(PROBE, payment.id, due_in=due_in, payload=asked)
        async with self._books.database.connection() as connection:
            await self._books.work.end(operation, payment.id, within=connection)

    async def suspect(
        self, payment: Payment, transaction_id: str, *, disputed: bool = False
    ) -> None:
        """Have it looked into whether the gateway has what it should not have (decision 10)."""
        hint: dict[str, object] = {"payment": str(payment.id), "transaction": transaction_id}
        if disputed:
            hint["disputed"] = True
        await self._books.work.add(COMPENSATE, derived_id(payment.id, transaction_id), payload=hint)

    async def _apply(
        self,
        payment: Payment,
        move: Move,
        *,
        within: Connection | None = None,
        also: Callable[[Connection, Payment], Awaitable[None]] | None = None,
    ) -> tuple[Payment, Moved]:
        if within is not None or also is None:
            moved = await self._books.moves.apply(move, within=within)
            after = await self._after(payment, move, moved, within=within)
            if also is not None and within is not None and moved.moved:
                await also(within, after)
        else:

            async def together(connection: Connection) -> tuple[Payment, Moved]:
                return await self._apply(payment, move, within=connection, also=also)

            after, moved = await self._books.database.in_transaction(together)
        if within is None:
            await self._doubt_is_over(payment, after)
        return after, moved

    async def _after(
        self, payment: Payment, move: Move, moved: Moved, *, within: Connection | None
    ) -> Payment:
        if not moved.moved or moved.version != payment.version + 1:
            return await self._books.payments.get(payment.id, within=within)
        changes = {
            name: value
            for name in ("gateway_transaction_id", "hosted_page_url", "decline_code",
                         "capture_before", "outcome")
            if (value := getattr(move, name)) is not None
        }  # fmt: skip
        return msgspec.structs.replace(
            payment,
            state=moved.state,
            version=moved.version,
            authorised_amount=payment.authorised_amount + (move.authorised or 0),
            captured_amount=payment.captured_amount + (move.captured or 0),
            settled_amount=payment.settled_amount + (move.settled or 0),
            refunded_amount=payment.refunded_amount + (move.refunded or 0),
            disputed_amount=payment.disputed_amount + (move.disputed or 0),
            **changes,
        )

    async def _unanswered(
        self, payment: Payment, operation: str, unanswered: Unanswered, *, issue: int = 1
    ) -> Payment:
        """Put the operation off to its next retry, or record that its outcome is unknown."""
        if unanswered.wait_seconds is None:
            return await self.leave_unknown(payment, operation, unanswered.because, issue=issue)
        await self._books.work.postpone(
            operation,
            payment.id,
            due_in=self._pace.seconds(unanswered.wait_seconds),
            because=unanswered.because,
            payload={"tries": unanswered.tries, "maybe_sent": unanswered.maybe_sent},
        )
        return payment

    async def _refused(self, payment: Payment, operation: str, refused: Refused) -> Payment:
        """Tell a person that the gateway refuses what has to be done, and go on asking for it."""
        await self._alert(REFUSES, payment.id, refused.error.sentence)
        await self._books.work.postpone(
            operation,
            payment.id,
            due_in=self._pace.seconds(REFUSED_SECONDS),
            because=refused.error.sentence,
            payload={"tries": 0, "maybe_sent": refused.maybe_done},
        )
        return payment

    async def _doubt_is_over(self, payment: Payment, after: Payment) -> None:
        """Close the case of an unknown outcome, saying what the outcome was."""
        if payment.outcome == "unknown":
            await self.close_if_known(after)


def _with_step(move: Move, step: Step) -> Move:
    """Add what a flow commits to the move that every payment makes."""
    return msgspec.structs.replace(
        move,
        facts={**(move.facts or {}), **step.facts},
        done=(*(move.done or ()), *step.done),
        next=(*(move.next or ()), *step.next),
        command=step.command or move.command,
    )
