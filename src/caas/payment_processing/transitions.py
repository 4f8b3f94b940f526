"""Transitions of charges: how every outcome of a gateway call is applied and recorded.

A transition is applied alone or, with the step of a flow, in one database transaction. An operation
that could not be sent is rescheduled; one without an answer is recorded as unknown.

Rules a change must keep: a payment is described by what was committed; an unknown outcome is a
remark and a lookup, never another state (decision 3); a retry reads the facts of earlier attempts
from its job.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from caas.billing_database.connection import Connection
from caas.billing_database.gateway_calls import REFUSES
from caas.billing_database.identifiers import derived_id
from caas.billing_database.payments import Payment
from caas.billing_database.postponed_jobs import Delay
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.transitions import NewJob, Transition, TransitionResult, transition_of
from caas.external_systems.gateway_modifications import AcceptedRequest
from caas.payment_processing.flow import Alert, SideEffects
from caas.payment_processing.gateway_calls import AUTHORIZE, COMPENSATE, PROBE, NoAnswer, Refused
from caas.rules.payment_states import PaymentState, Remark
from caas.rules.time_scale import TimeScale

FIRST_PROBE_SECONDS: Final = 1.0
REFUSED_SECONDS: Final = 300.0
REPORT_SECONDS: Final = (60.0, 300.0, 900.0, 3600.0, 14_400.0, 28_800.0, 43_200.0)
"""Waits before each lookup of an accepted operation whose report does not come."""
ACCEPTED: Final = "accepted:"
"""How the source of the event begins that records an accepted operation."""
OUTCOME_UNKNOWN: Final = "gateway_outcome_unknown"
ENDED: Final = frozenset({PaymentState.FAILED, PaymentState.VOIDED})


class ChargeTransitions:
    """Applies transitions, and records unanswered and refused calls."""

    def __init__(self, tables: BillingDatabase, *, time_scale: TimeScale, alert: Alert) -> None:
        """Record in this database; `alert` reports unknown outcomes and refusals."""
        self._tables = tables
        self._time_scale = time_scale
        self._alert = alert

    async def apply(
        self, payment: Payment, transition: Transition, *, step: SideEffects | None = None
    ) -> Payment:
        """Apply a transition with a flow's step; return the payment afterwards."""
        return (await self.try_to_apply(payment, transition, step=step))[0]

    async def is_applied(self, payment: Payment, source: str) -> bool:
        """Return whether a transition from this source was applied to the payment."""
        return await self._tables.transitions.is_applied(payment.id, source)

    async def try_to_apply(
        self, payment: Payment, transition: Transition, *, step: SideEffects | None = None
    ) -> tuple[Payment, bool]:
        """Apply a transition; return the payment afterwards, and whether this call applied it."""
        if step is None:
            after, transitioned = await self.apply_with(payment, transition)
        else:
            after, transitioned = await self.apply_with(
                payment, _with_step(transition, step), also=step.also
            )
        return after, transitioned.transitioned

    async def record_no_answer(self, payment: Payment, operation: str, because: str) -> Payment:
        """Record at once that a call had no answer, while it is still retried (decision 120).

        A payment that changed meanwhile is left as it is.
        """
        if payment.outcome == "unknown":
            return payment
        transition = transition_of(
            payment,
            Remark.OUTCOME_UNKNOWN,
            source=f"unknown:{operation}:{payment.version}",
            if_version=payment.version,
            outcome="unknown",
            facts={"operation": operation, "because": because},
        )
        after = (await self.apply_with(payment, transition))[0]
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
        """Record that an operation's outcome is unknown; from now on it is looked up.

        If a later issue of its key is due, that one will tell.
        """
        if await self._tables.jobs.has_later_issue(operation, payment.id, issue=issue):
            return await self._tables.payments.get(payment.id)
        await self._alert(OUTCOME_UNKNOWN, payment.id, because)
        first_probe = self._time_scale.seconds(FIRST_PROBE_SECONDS)
        if payment.outcome == "unknown" and transaction_id is None:
            await self._probe_instead(payment, operation, first_probe, issue)
            return payment
        transition = transition_of(
            payment,
            Remark.OUTCOME_UNKNOWN,
            source=f"unknown:{operation}:{payment.version}",
            outcome="unknown",
            facts={"operation": operation, "because": because},
            gateway_transaction_id=transaction_id,
            done=(operation,),
            next=(NewJob(PROBE, first_probe, {"operation": operation, "issue": issue}),),
        )
        after = (await self.apply_with(payment, transition))[0]
        await self.close_if_known(after)
        return after

    async def close_if_known(self, payment: Payment) -> None:
        """Close the case of an unknown outcome once the outcome is known."""
        if payment.outcome == "known":
            await self._tables.cases.close(
                OUTCOME_UNKNOWN,
                payment.id,
                resolution=f"The outcome became known; the payment is {payment.state}.",
                owner="caas",
            )

    async def _probe_instead(
        self, payment: Payment, operation: str, due_in: float, issue: int
    ) -> None:
        """Replace the operation's job by lookups; the unknown outcome is already recorded."""
        delay = Delay(due_in, None, {"operation": operation})
        await self._tables.jobs.postpone_issue(PROBE, payment.id, delay, issue=issue)
        async with self._tables.database.connection() as connection:
            await self._tables.jobs.end(operation, payment.id, within=connection)

    async def record_late_outcome(
        self, payment: Payment, transaction_id: str, *, disputed: bool = False
    ) -> None:
        """Schedule compensation of a transaction the payment does not account for (decision 10)."""
        hint: dict[str, object] = {"payment": str(payment.id), "transaction": transaction_id}
        if disputed:
            hint["disputed"] = True
        await self._tables.jobs.add(
            COMPENSATE, derived_id(payment.id, transaction_id), payload=hint
        )

    async def apply_with(
        self,
        payment: Payment,
        transition: Transition,
        *,
        within: Connection | None = None,
        also: Callable[[Connection, Payment], Awaitable[None]] | None = None,
    ) -> tuple[Payment, TransitionResult]:
        """Apply a transition and `also` in one database transaction, the caller's when given."""
        if within is not None or also is None:
            transitioned = await self._tables.transitions.apply(transition, within=within)
            after = await self._after(payment, transition, transitioned, within=within)
            if also is not None and within is not None and transitioned.transitioned:
                await also(within, after)
        else:

            async def together(connection: Connection) -> tuple[Payment, TransitionResult]:
                return await self.apply_with(payment, transition, within=connection, also=also)

            after, transitioned = await self._tables.database.in_transaction(together)
        if within is None:
            await self._close_case(payment, after)
        return after, transitioned

    async def _after(
        self,
        payment: Payment,
        transition: Transition,
        transitioned: TransitionResult,
        *,
        within: Connection | None,
    ) -> Payment:
        if not transitioned.transitioned or transitioned.version != payment.version + 1:
            return await self._tables.payments.get(payment.id, within=within)
        changes = {
            name: value
            for name in ("gateway_transaction_id", "hosted_page_url", "decline_code",
                         "capture_before", "outcome")
            if (value := getattr(transition, name)) is not None
        }  # fmt: skip
        return msgspec.structs.replace(
            payment,
            state=transitioned.state,
            version=transitioned.version,
            authorized_amount=payment.authorized_amount + (transition.authorized or 0),
            captured_amount=payment.captured_amount + (transition.captured or 0),
            settled_amount=payment.settled_amount + (transition.settled or 0),
            refunded_amount=payment.refunded_amount + (transition.refunded or 0),
            disputed_amount=payment.disputed_amount + (transition.disputed or 0),
            **changes,
        )

    async def reschedule_authorization(
        self, payment: Payment, no_answer: NoAnswer | Refused, *, fence: int
    ) -> Payment:
        """Send a payment again later, unless another process has it by now.

        `fence` is that of the job under which it was sent. A process that was frozen meanwhile does
        not know what the other one has sent.
        """
        if isinstance(no_answer, Refused):
            wait, because = REFUSED_SECONDS, no_answer.error.sentence
            payload = {"tries": 0, "maybe_sent": no_answer.maybe_done}
        else:
            assert no_answer.wait_seconds is not None, "what is not sent again is left unknown"
            wait, because = no_answer.wait_seconds, no_answer.because
            payload = {"tries": no_answer.tries, "maybe_sent": no_answer.maybe_sent}
        delay = Delay(self._time_scale.seconds(wait), because, payload)
        is_ours = await self._tables.jobs.postpone_own(
            AUTHORIZE, payment.id, delay, fence=fence, version=payment.version
        )
        return payment if is_ours else await self._tables.payments.get(payment.id)

    async def reschedule(
        self, payment: Payment, operation: str, no_answer: NoAnswer, *, issue: int = 1
    ) -> Payment:
        """Reschedule a capture or void, or record that its outcome is unknown."""
        if no_answer.wait_seconds is None:
            return await self.leave_unknown(payment, operation, no_answer.because, issue=issue)
        delay = Delay(
            self._time_scale.seconds(no_answer.wait_seconds),
            no_answer.because,
            {"tries": no_answer.tries, "maybe_sent": no_answer.maybe_sent},
        )
        await self._tables.jobs.postpone_issue(operation, payment.id, delay, issue=issue)
        return payment

    async def await_report(
        self, payment: Payment, operation: str, accepted: AcceptedRequest, *, issue: int, looks: int
    ) -> Payment:
        """Wait for the report of an accepted operation; it is looked up while none comes.

        After the last look its outcome counts as unknown.
        """
        if looks >= len(REPORT_SECONDS):
            because = f"The {operation} was accepted as {accepted.id}, and never reported."
            return await self.leave_unknown(payment, operation, because, issue=issue)
        if looks == 0:
            transition = transition_of(
                payment,
                Remark.GATEWAY_CALLED,
                source=f"{ACCEPTED}{operation}:{accepted.id}",
                outcome="known",
                facts={"operation": operation, "accepted_as": accepted.id, "issue": issue},
                done=(PROBE,),
            )
            payment = (await self.apply_with(payment, transition))[0]
        delay = Delay(
            self._time_scale.seconds(REPORT_SECONDS[looks]),
            "the gateway accepted it, and has not reported its outcome",
            {"looks": looks + 1},
        )
        await self._tables.jobs.postpone_issue(operation, payment.id, delay, issue=issue)
        return payment

    async def retry_refused(
        self, payment: Payment, operation: str, refused: Refused, *, issue: int = 1
    ) -> Payment:
        """Alert operations that the gateway refuses an operation, and keep retrying it."""
        await self._alert(REFUSES, payment.id, refused.error.sentence)
        delay = Delay(
            self._time_scale.seconds(REFUSED_SECONDS),
            refused.error.sentence,
            {"tries": 0, "maybe_sent": refused.maybe_done, "looks": 0},
        )
        await self._tables.jobs.postpone_issue(operation, payment.id, delay, issue=issue)
        return payment

    async def _close_case(self, payment: Payment, after: Payment) -> None:
        if payment.outcome == "unknown":
            await self.close_if_known(after)


def _with_step(transition: Transition, step: SideEffects) -> Transition:
    """Add a flow's step to a transition."""
    return msgspec.structs.replace(
        transition,
        facts={**(transition.facts or {}), **step.facts},
        done=(*(transition.done or ()), *step.done),
        next=(*(transition.next or ()), *step.next),
        command=step.command or transition.command,
    )
