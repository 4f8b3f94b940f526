"""Looks for transactions of a payment beside the chosen one, until none can appear (fault F-H1).

The work is written down when an attempt may have reached the gateway without an answer. Webhooks
find a sibling sooner; this finds it when all of them are lost.

Rules a change must keep: a look only leaves hints, and what is true is asked again before anything
is undone; looks end after the last one, a day later; a gateway that does not answer uses up none.
"""

from typing import Final

from caas.billing_database.books import Books
from caas.billing_database.due_work import DueWork
from caas.external_systems.http_answers import (
    NO_LOOKUP,
    GatewayFailure,
    RefusedByPartnerError,
)
from caas.external_systems.payment_gateway import PaymentGateway
from caas.open_work import Again, Answer, Done, OpenWork
from caas.payment_processing.applying import ENDED
from caas.payment_processing.charges import Charges
from caas.payment_processing.choosing import DEAD, LOOKS_SECONDS, is_sibling
from caas.payment_processing.gateway_calls import LOOK_FOR_SIBLINGS

UNANSWERED_SECONDS: Final = 30.0


class SiblingSearch:
    """Finds siblings and leaves their compensation to `late_truths`."""

    def __init__(self, *, books: Books, gateway: PaymentGateway, charges: Charges) -> None:
        """Ask this gateway."""
        self._books = books
        self._gateway = gateway
        self._charges = charges

    def register(self, open_work: OpenWork) -> None:
        """Take every search."""
        open_work.register(LOOK_FOR_SIBLINGS, self._look)

    async def _look(self, work: DueWork) -> Answer:
        payment = await self._books.payments.get(work.subject)
        try:
            found = await self._gateway.find_by_reference(str(payment.id))
        except GatewayFailure as failure:
            if isinstance(failure, RefusedByPartnerError) and failure.status in NO_LOOKUP:
                return Done()
            return Again(UNANSWERED_SECONDS, failure.sentence)
        for one in found:
            unwanted = payment.state in ENDED or is_sibling(payment, one.id)
            if unwanted and one.status not in DEAD:
                await self._charges.suspect(payment, one.id)
        looks = int(work.payload.get("looks", 0)) + 1
        if looks >= len(LOOKS_SECONDS):
            return Done()
        return Again(LOOKS_SECONDS[looks], "a sibling may still appear", {"looks": looks})
