"""A Stripe adapter whose Stripe answers what a test has written down."""

import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

from caas.external_systems.http import HttpClient, HttpLimits
from caas.external_systems.payment_gateway import PaymentGateway
from caas.external_systems.stripe_gateway import HEADERS, StripeGateway
from tests.external_systems.scripted_server import answering, http_answer, scripted_server

Answer = TypeVar("Answer")
Ask = Callable[[PaymentGateway], Awaitable[Answer]]
QUICK = HttpLimits(total_seconds=0.5, connect_seconds=0.25)


async def reported(
    ask: Ask[Answer],
    *answers: object,
    status: str = "200 OK",
    content_type: str = "application/json",
) -> tuple[Answer, list[bytes]]:
    """What a Stripe that answers with exactly this leads to, and what it was asked."""
    written = [
        http_answer(json.dumps(answer).encode(), status=status, content_type=content_type)
        for answer in answers
    ]
    async with scripted_server(answering(*written)) as server:
        http = HttpClient(server.url, partner="stripe", limits=QUICK, headers=HEADERS)
        gateway = StripeGateway(http)
        try:
            return await ask(gateway), server.requests
        finally:
            await gateway.close()
