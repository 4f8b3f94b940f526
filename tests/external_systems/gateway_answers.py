"""What a gateway of the seed's contract writes, as plain values that a test may spoil."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from caas.external_systems.http import HttpClient, HttpLimits
from caas.external_systems.payment_gateway import CaptureMode, TransactionRequest
from caas.external_systems.seed_contract_gateway import SeedContractGateway
from tests.external_systems.scripted_server import answering, http_answer, scripted_server

Answer = TypeVar("Answer")
QUICK = HttpLimits(total_seconds=0.5, connect_seconds=0.25)

REQUEST = TransactionRequest(
    reference="pay-1",
    amount=12_500,
    currency="EUR",
    capture=CaptureMode.MANUAL,
    customer_reference="customer-1",
    description="Heated seats, 30 days",
    payment_method="pm_ok",
)


def transaction(**facts: object) -> dict[str, object]:
    """A transaction that agrees with `REQUEST`, but for the facts given."""
    return {
        "id": "txn_1",
        "reference": "pay-1",
        "status": "authorized",
        "amount": 12_500,
        "currency": "EUR",
        "captured_amount": 0,
        "settled_amount": 0,
        "refunded_amount": 0,
        "decline_code": None,
        "capture_before": "2026-12-01T10:00:00Z",
        "hosted_page_url": None,
        "created_at": "2026-11-24T10:00:00.123456Z",
    } | facts


async def reported(
    body: bytes,
    ask: Callable[[SeedContractGateway], Awaitable[Answer]],
    *,
    status: str = "201 Created",
    content_type: str = "application/json",
) -> Answer:
    """Ask a gateway that answers with exactly this."""
    answer = http_answer(body, status=status, content_type=content_type)
    async with scripted_server(answering(answer)) as server:
        gateway = SeedContractGateway(HttpClient(server.url, partner="gateway", limits=QUICK))
        try:
            return await ask(gateway)
        finally:
            await gateway.close()
