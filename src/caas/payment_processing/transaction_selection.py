"""Which gateway transaction is a payment's own, when there are several (fault F-H1).

A gateway that ignores keys creates a transaction for each attempt. The first one committed to the
payment's row is chosen for good; the database rejects another. Any other transaction under the same
reference is a sibling: it is compensated and changes nothing else. Webhooks find siblings first; a
job looks for them over a day, in case all webhooks are lost.

Rules a change must keep: a committed choice never changes; a transaction is chosen only from the
version of the payment that was read; a dead transaction ends a payment only when the gateway shows
no live one beside it; the search for siblings is scheduled before anything is sent a second time; a
search only schedules compensation; an unanswered search does not count as one.
"""

from collections.abc import Sequence
from typing import Final

from caas.billing_database.job_rows import Job
from caas.billing_database.payments import Payment
from caas.billing_database.tables import BillingDatabase
from caas.external_systems.http_answers import NO_LOOKUP, GatewayFailure, RefusedByPartnerError
from caas.external_systems.payment_gateway import (
    GatewayTransaction,
    TransactionStatus,
    mismatches,
)
from caas.jobs import Answer, Done, JobQueue, RetryIn
from caas.payment_processing.gateway_calls import LOOK_FOR_SIBLINGS
from caas.payment_processing.gateways import Gateways
from caas.payment_processing.transitions import ENDED, ChargeTransitions
from caas.rules.time_scale import TimeScale

LOOKS_SECONDS: Final = (5.0, 60.0, 600.0, 3600.0, 86_400.0)
"""Waits before each search for siblings: a request may take effect long after a time-out."""
NO_ANSWER_SECONDS: Final = 30.0
CONTRADICTION: Final = "gateway_contradiction"

_S = TransactionStatus
HELD: Final = frozenset({_S.AUTHORIZED})
TAKEN: Final = frozenset({_S.CAPTURING, _S.SETTLED, _S.SETTLEMENT_FAILED, _S.REFUNDED})
OPEN_STILL: Final = frozenset({_S.REQUIRES_ACTION, _S.PENDING})
DEAD: Final = frozenset({_S.FAILED, _S.VOIDED, _S.SETTLEMENT_FAILED, _S.REFUNDED})
_LIVELIEST_FIRST: Final = (
    _S.SETTLED, _S.CAPTURING, _S.AUTHORIZED, _S.PENDING, _S.REQUIRES_ACTION,
    _S.SETTLEMENT_FAILED, _S.REFUNDED, _S.FAILED, _S.VOIDED,
)  # fmt: skip


def is_sibling(payment: Payment, transaction_id: str) -> bool:
    """Return whether a payment has chosen another transaction than this one."""
    return payment.gateway_transaction_id not in (None, transaction_id)


def chosen_of(found: Sequence[GatewayTransaction]) -> GatewayTransaction:
    """Choose the transaction to keep: one that took money, then one that holds it, then by id."""
    return min(found, key=lambda one: (_LIVELIEST_FIRST.index(one.status), one.id))


class TransactionSelection:
    """Looks up a payment's transactions and separates the chosen one from its siblings."""

    def __init__(
        self,
        tables: BillingDatabase,
        gateways: Gateways,
        transitions: ChargeTransitions,
        *,
        time_scale: TimeScale,
    ) -> None:
        self._tables = tables
        self._gateways = gateways
        self._transitions = transitions
        self._time_scale = time_scale

    def register(self, jobs: JobQueue) -> None:
        """Register the search for siblings."""
        jobs.register(LOOK_FOR_SIBLINGS, self._look_for_siblings)

    async def look_up(self, payment: Payment) -> GatewayTransaction | None:
        """Look up a payment at the gateway; None if the gateway does not have it.

        Raises:
            GatewayFailure: it gave no usable answer, or cannot look up by reference.
        """
        if payment.gateway_transaction_id is not None:
            return await self._gateways.of(payment).find(payment.gateway_transaction_id)
        found = await self._of_payment(payment)
        ours = [one for one in found if not differences(payment, one)]
        if not ours:
            return found[0] if found else None
        for one in found:
            if one not in ours:
                await self.open_contradiction(
                    payment, f"It says {', '.join(differences(payment, one))}."
                )
        chosen = chosen_of(ours)
        for one in ours:
            if one is not chosen:
                await self._transitions.record_late_outcome(payment, one.id)
        return chosen

    async def live_transaction(
        self, payment: Payment, transaction: GatewayTransaction
    ) -> GatewayTransaction:
        """Return the transaction a payment follows: never a dead one beside a live one.

        Raises:
            GatewayFailure: the gateway gave no usable answer to the lookup.
        """
        undecided = payment.gateway_transaction_id is None and transaction.status in DEAD
        if not undecided or not self.has_lookup(payment):
            return transaction
        try:
            return await self.look_up(payment) or transaction
        except RefusedByPartnerError:
            return transaction

    def has_lookup(self, payment: Payment) -> bool:
        """Return whether the payment's gateway can look up by reference."""
        return self._gateways.of(payment).capabilities.lookup_by_reference

    async def watch_for_siblings(self, payment: Payment) -> None:
        """Schedule the search for siblings, where the gateway has a lookup."""
        if self.has_lookup(payment):
            await self._tables.jobs.add(
                LOOK_FOR_SIBLINGS,
                payment.id,
                due_in=self._time_scale.seconds(LOOKS_SECONDS[0]),
                payload={"looks": 0},
            )

    async def _look_for_siblings(self, job: Job) -> Answer:
        payment = await self._tables.payments.get(job.subject)
        try:
            found = await self._of_payment(payment)
        except GatewayFailure as failure:
            if isinstance(failure, RefusedByPartnerError) and failure.status in NO_LOOKUP:
                return Done()
            return RetryIn(NO_ANSWER_SECONDS, failure.sentence)
        for one in found:
            unwanted = payment.state in ENDED or is_sibling(payment, one.id)
            if unwanted and one.status not in DEAD:
                await self._transitions.record_late_outcome(payment, one.id)
        looks = int(job.payload.get("looks", 0)) + 1
        if looks >= len(LOOKS_SECONDS):
            return Done()
        return RetryIn(LOOKS_SECONDS[looks], "a sibling may still appear", {"looks": looks})

    async def _of_payment(self, payment: Payment) -> tuple[GatewayTransaction, ...]:
        return await self._gateways.of(payment).find_by_reference(
            str(payment.id), customer_reference=str(payment.customer)
        )

    async def open_contradiction(self, payment: Payment, sentence: str) -> None:
        """Open a case: the gateway contradicts the request."""
        await self._tables.cases.open(
            CONTRADICTION,
            payment.id,
            f"The gateway contradicts what we asked of it. {sentence}",
        )


def differences(payment: Payment, transaction: GatewayTransaction) -> list[str]:
    """Return where a transaction differs from its payment (decision 32)."""
    return mismatches(
        transaction,
        reference=str(payment.id),
        amount=payment.amount,
        currency=payment.currency,
    )
