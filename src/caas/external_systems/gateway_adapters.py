"""Which payment gateways there are an adapter for, by the name that a setting gives them.

Seed: the payment gateway is an external provider; which one is a setting (CAAS_GATEWAY_ADAPTER).

Rule a change must keep: an adapter brings its own way of believing its webhooks, and never borrows
another's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from caas.external_systems import seed_contract_wire, stripe_webhooks
from caas.external_systems.http import HttpClient, Secret
from caas.external_systems.payment_gateway import GatewayEvent, PaymentGateway
from caas.external_systems.seed_contract_gateway import SeedContractGateway
from caas.external_systems.stripe_gateway import HEADERS, StripeGateway
from caas.external_systems.stripe_webhooks import StripeWebhookVerifier
from caas.external_systems.webhook_signatures import Verifier, WebhookVerifier

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayAdapter:
    """How one gateway is spoken to, and how its webhooks are believed."""

    over: Callable[[HttpClient, Clock], PaymentGateway]
    verifier: Callable[[Sequence[Secret]], Verifier]
    read_event: Callable[[bytes], GatewayEvent | None]
    headers: Mapping[str, str] = field(default_factory=dict)


SEED_CONTRACT: Final = "seed-contract"
ADAPTERS: Final[Mapping[str, GatewayAdapter]] = {
    SEED_CONTRACT: GatewayAdapter(
        over=lambda http, _: SeedContractGateway(http),
        verifier=WebhookVerifier,
        read_event=seed_contract_wire.read_event,
    ),
    "stripe": GatewayAdapter(
        over=lambda http, clock: StripeGateway(http, clock=clock),
        verifier=StripeWebhookVerifier,
        read_event=stripe_webhooks.read_event,
        headers=HEADERS,
    ),
}
