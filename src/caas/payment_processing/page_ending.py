"""Ending a hosted page whose customer has withdrawn, or chosen otherwise (decisions 262, 282).

Rule a change must keep: only the gateway's word ends the payment; what was paid on the page
meanwhile is looked up, and its flow voids it.
"""

from typing import Final

from caas.billing_database.job_rows import Job
from caas.billing_database.payments import END_PAGE, Payment
from caas.billing_database.tables import BillingDatabase
from caas.external_systems.gateway_modifications import AcceptedRequest
from caas.external_systems.http_answers import GatewayFailure
from caas.jobs import Answer, Done, JobQueue, RetryIn
from caas.payment_processing.charges import Charges
from caas.payment_processing.flow import Flows
from caas.payment_processing.gateway_calls import PROBE, key_of
from caas.payment_processing.unknown_outcomes import again
from caas.rules.payment_states import PaymentState

OPEN: Final = frozenset({PaymentState.INITIATED, PaymentState.PENDING})
WITHDRAWN: Final = "the purchase was withdrawn, or another payment method was chosen"


class PageEnding:
    """Ends the pages of payments for what was withdrawn."""

    def __init__(self, *, tables: BillingDatabase, charges: Charges, flows: Flows) -> None:
        """End pages at the gateways of these charges."""
        self._tables = tables
        self._charges = charges
        self._flows = flows

    def register(self, jobs: JobQueue) -> None:
        """Register the job that ends a payment's page."""
        jobs.register(END_PAGE, self._end)

    async def _end(self, job: Job) -> Answer:
        payment = await self._tables.payments.get(job.subject)
        if payment.state not in OPEN:
            return Done()
        page = await self._page_of(payment)
        if page is None:
            return again(job, "it has no page yet")
        key = key_of(payment.id, END_PAGE, issue=job.attempts)
        try:
            ended = await self._charges.gateways.of(payment).void(page, WITHDRAWN, key=key)
        except GatewayFailure as failure:
            return await self._look_up(job, payment, failure.sentence)
        if isinstance(ended, AcceptedRequest):
            return await self._look_up(job, payment, "the gateway has accepted to end its page")
        after = await self._charges.authorization.authorization_answered(
            payment, ended, self._flows.of(payment.type), source="end of its page"
        )
        return Done() if after.state not in OPEN else again(job, "its page is still open")

    async def _look_up(self, job: Job, payment: Payment, because: str) -> RetryIn:
        """Look the payment up at once: it may have been paid, or may have ended."""
        await self._tables.jobs.add(PROBE, payment.id)
        return again(job, because)

    async def _page_of(self, payment: Payment) -> str | None:
        """Return the id by which the gateway knows the payment's page; None: it has none."""
        if payment.hosted_page_url is None:
            return None
        if payment.gateway_transaction_id is not None:
            return payment.gateway_transaction_id
        return await self._tables.payments.page_id(payment.id)
