"""Looks for transactions of a payment beside the chosen one, until none can appear (fault F-H1).

The work is written down when an attempt may have reached the gateway without an answer. Webhooks
find a sibling sooner; this finds it when all of them are lost.

Rules a change must keep: a look only leaves hints, and what is true is asked again before anything
is undone; looks end after the last one, a day later; a gateway that does not answer uses up none.
"""

from typing import Final

from caas.billing_database.job_rows import Job
from caas.billing_database.tables import BillingDatabase
from caas.external_systems.http_answers import (
    NO_LOOKUP,
    GatewayFailure,
    RefusedByPartnerError,
)
from caas.external_systems.payment_gateway import PaymentGateway
from caas.jobs import Answer, Done, JobQueue, RetryIn
from caas.payment_processing.gateway_calls import LOOK_FOR_SIBLINGS
from caas.payment_processing.transaction_selection import DEAD, LOOKS_SECONDS, is_sibling
from caas.payment_processing.transitions import ENDED, ChargeTransitions

NO_ANSWER_SECONDS: Final = 30.0


class SiblingSearch:
    """Finds siblings and leaves their compensation to `compensation`."""

    def __init__(
        self,
        *,
        tables: BillingDatabase,
        gateway: PaymentGateway,
        transitions: ChargeTransitions,
    ) -> None:
        """Ask this gateway."""
        self._tables = tables
        self._gateway = gateway
        self._transitions = transitions

    def register(self, jobs: JobQueue) -> None:
        """Take every search."""
        jobs.register(LOOK_FOR_SIBLINGS, self._look)

    async def _look(self, job: Job) -> Answer:
        payment = await self._tables.payments.get(job.subject)
        try:
            found = await self._gateway.find_by_reference(str(payment.id))
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
