"""Webhooks about refunds and disputes: while one is unread, its payment refunds nothing.

The webhook's own job is the obstacle, so that nothing has to be recorded before it is read. It
names payments by its reference and by its transaction. If its transaction belongs to no payment of
ours, it becomes a case of the payment in its reference; closing the case is the decision.

Rules a change must keep: the end of the job and the resumption of the waiting refunds are one
commit; a webhook that names several payments, or an unknown transaction beside a payment of ours,
is applied to none of them.
"""

from typing import Final
from uuid import UUID

from caas.billing_database import webhook_inbox
from caas.billing_database.connection import Connection
from caas.billing_database.job_rows import Job
from caas.billing_database.payments import Payment, PaymentNotFoundError
from caas.billing_database.refunds import Refunds as RefundRows
from caas.billing_database.tables import BillingDatabase
from caas.external_systems.payment_gateway import GatewayDispute, GatewayRefund
from caas.jobs import Answer, Done

APPLY_WEBHOOK: Final = "apply_webhook"
Reported = GatewayDispute | GatewayRefund


class OutgoingMoney:
    """Ends the jobs of webhooks about refunds and disputes."""

    def __init__(self, tables: BillingDatabase) -> None:
        self._tables = tables
        self._rows = RefundRows(tables.database)

    async def followed(self, job: Job, answer: Answer) -> Answer:
        """End the job of an applied webhook, and wake the refunds that waited for it."""
        if not isinstance(answer, Done):
            return answer

        async def together(connection: Connection) -> None:
            named = await webhook_inbox.payments_waiting(connection, job.subject)
            await self._tables.jobs.end(APPLY_WEBHOOK, job.subject, within=connection)
            await self._rows.wake_all(named, within=connection)

        await self._tables.database.in_transaction(together)
        return answer

    async def open_case(self, reported: Reported) -> bool:
        """Open a case on the payment that a report of an unknown transaction references."""
        payment = await referred_to(self._tables, reported)
        if payment is None:
            return False
        what = "dispute" if isinstance(reported, GatewayDispute) else "refund"
        facts = {what: reported.id}
        sentence = of_nobody(what, reported)
        await self._tables.cases.open(f"{what}_contradiction", payment.id, sentence, facts=facts)
        return True


async def others(
    tables: BillingDatabase, payment: Payment, reported: Reported
) -> list[UUID] | None:
    """Return other payments that a report's reference names; None if it names this one or none."""
    if reported.reference in ("", str(payment.id)):
        return None
    referred = await referred_to(tables, reported)
    return [] if referred is None else [referred.id]


async def referred_to(tables: BillingDatabase, reported: Reported) -> Payment | None:
    """Return the payment that a report's reference names, or None."""
    try:
        return await tables.payments.get(UUID(reported.reference))
    except (ValueError, PaymentNotFoundError):
        return None


def of_several(what: str, reported: Reported) -> str:
    """Return the sentence for a report that names several payments."""
    return (
        f"The gateway reports the {what} {reported.id} of {reported.amount}, transaction "
        f"{reported.transaction_id}, reference {reported.reference or 'none'}: these belong to "
        "more than one payment. Nothing was applied, and no refund is sent until this case is "
        "resolved. Ask the gateway which payment it belongs to."
    )


def of_nobody(what: str, reported: Reported) -> str:
    """Return the sentence for a report of an unknown transaction with our reference."""
    return (
        f"The gateway reports the {what} {reported.id} of {reported.amount} of this payment, with "
        f"the transaction {reported.transaction_id}, which is not known here. Nothing was applied, "
        "and no refund is sent until this case is resolved. Ask the gateway what it belongs to."
    )
