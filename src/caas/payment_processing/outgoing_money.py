"""Webhooks about refunds and disputes: until one is followed, what it names refunds nothing.

The obstacle is the webhook's own job, so that nothing has to be written down before it is read. A
word that nobody can follow becomes a case of the payment that its reference names; a person who
closes the case has decided.

Rule a change must keep: the job ends, and the refunds that waited for it look again, in one commit.
"""

from typing import Final

from caas.billing_database import webhook_inbox
from caas.billing_database.connection import Connection
from caas.billing_database.job_rows import Job
from caas.billing_database.refunds import Refunds as RefundRows
from caas.billing_database.tables import BillingDatabase
from caas.external_systems.payment_gateway import GatewayDispute
from caas.jobs import Answer, Done
from caas.payment_processing import message_references

APPLY_WEBHOOK: Final = "apply_webhook"


class OutgoingMoney:
    """Ends the jobs of webhooks about outgoing money."""

    def __init__(self, tables: BillingDatabase) -> None:
        """End them in these books."""
        self._tables = tables
        self._rows = RefundRows(tables.database)

    async def followed(self, job: Job, answer: Answer) -> Answer:
        """End the job of a webhook that was followed, and wake the refunds that waited for it."""
        if not isinstance(answer, Done):
            return answer

        async def together(connection: Connection) -> None:
            named = await webhook_inbox.payments_waiting(connection, job.subject)
            await self._tables.jobs.end(APPLY_WEBHOOK, job.subject, within=connection)
            await self._rows.wake_all(named, within=connection)

        await self._tables.database.in_transaction(together)
        return answer

    async def is_a_case(self, reported: message_references.Reported) -> bool:
        """Make a word of an unknown transaction a case of the payment its reference names."""
        payment = await message_references.referred_to(self._tables, reported)
        if payment is None:
            return False
        what = "dispute" if isinstance(reported, GatewayDispute) else "refund"
        facts = {what: reported.id}
        sentence = message_references.of_nobody(what, reported)
        await self._tables.cases.open(f"{what}_contradiction", payment.id, sentence, facts=facts)
        return True
