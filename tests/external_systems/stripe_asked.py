"""A Stripe adapter whose Stripe answers what a test has written down."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from caas.external_systems.http import HttpClient, HttpLimits
from caas.external_systems.payment_gateway import PaymentGateway
from caas.external_systems.stripe_gateway import HEADERS, StripeGateway
from tests.external_systems.scripted_server import answering, http_answer, scripted_server
from tests.external_systems.stripe_answers import just_now

Answer = TypeVar("Answer")
Ask = Callable[[PaymentGateway], Awaitable[Answer]]


@dataclass
class KnownCustomers:
    """A directory of customers in memory."""

    ids: dict[str, str] = field(default_factory=dict)

    async def find(self, customer_reference: str) -> str | None:
        return self.ids.get(customer_reference)

    async def keep(self, customer_reference: str, gateway_customer: str) -> str:
        return self.ids.setdefault(customer_reference, gateway_customer)


class NothingReported:
    """A gateway of which no webhook has come."""

    async def of_transaction(self, transaction_id: str) -> tuple[bytes, ...]:
        del transaction_id
        return ()

    async def of_reference(self, reference: str) -> tuple[bytes, ...]:
        del reference
        return ()


QUICK = HttpLimits(total_seconds=0.5, connect_seconds=0.25)


async def reported(
    ask: Ask[Answer],
    *answers: object,
    status: str = "200 OK",
    then: str | None = None,
    content_type: str = "application/json",
) -> tuple[Answer, list[bytes]]:
    """What a Stripe that answers with exactly this leads to, and what it was asked."""
    written = [
        http_answer(
            json.dumps(answer).encode(),
            status=then if at and then else status,
            content_type=content_type,
        )
        for at, answer in enumerate(answers)
    ]
    async with scripted_server(answering(*written)) as server:
        http = HttpClient(server.url, partner="stripe", limits=QUICK, headers=HEADERS)
        gateway = StripeGateway(http, KnownCustomers({"customer-1": "cus_1"}), now=just_now)
        try:
            return await ask(gateway), server.requests
        finally:
            await gateway.close()
