"""Webhooks about refunds and disputes: until one is followed, what it names refunds nothing.

The obstacle is the webhook's own job, so that nothing has to be written down before it is read. A
word that nobody can follow becomes a case of the payment that its reference names; a person who
closes the case has decided.

Rule a change must keep: the job ends, and the refunds that waited for it look again, in one commit.
"""

from typing import Final

from caas.billing_database import webhook_inbox
from caas.billing_database.books import Books
from caas.billing_database.connection import Connection
from caas.billing_database.due_work import DueWork
from caas.billing_database.refunds import Refunds as RefundRows
from caas.external_systems.payment_gateway import GatewayDispute
from caas.open_work import Answer, Done
from caas.payment_processing import naming

APPLY_WEBHOOK: Final = "apply_webhook"


class OutgoingNews:
    """Ends the jobs of webhooks about outgoing money."""

    def __init__(self, books: Books) -> None:
        """End them in these books."""
        self._books = books
        self._rows = RefundRows(books.database)

    async def followed(self, work: DueWork, answer: Answer) -> Answer:
        """End the job of a webhook that was followed, and wake the refunds that waited for it."""
        if not isinstance(answer, Done):
            return answer

        async def together(connection: Connection) -> None:
            named = await webhook_inbox.payments_waiting(connection, work.subject)
            await self._books.work.end(APPLY_WEBHOOK, work.subject, within=connection)
            await self._rows.wake_all(named, within=connection)

        await self._books.database.in_transaction(together)
        return answer

    async def is_a_case(self, told: naming.Told) -> bool:
        """Make a word of an unknown transaction a case of the payment its reference names."""
        payment = await naming.referred_to(self._books, told)
        if payment is None:
            return False
        what = "dispute" if isinstance(told, GatewayDispute) else "refund"
        facts = {what: told.id}
        sentence = naming.of_nobody(what, told)
        await self._books.cases.open(f"{what}_contradiction", payment.id, sentence, facts=facts)
        return True
