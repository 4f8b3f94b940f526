"""Payment gateway adapters by the name used in the setting CAAS_GATEWAY.

Rules a change must keep: each adapter verifies its own webhooks; only adapters of a shared contract
let settings declare capabilities.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from caas.external_systems import (
    seed_contract_gateway,
    seed_contract_wire,
    stripe_gateway,
    stripe_webhooks,
)
from caas.external_systems.http import HttpClient, Secret
from caas.external_systems.payment_gateway import Capabilities, GatewayEvent, PaymentGateway
from caas.external_systems.seed_contract_gateway import SeedContractGateway
from caas.external_systems.stripe_gateway import HEADERS, StripeGateway
from caas.external_systems.stripe_webhooks import StripeWebhookVerifier
from caas.external_systems.webhook_signatures import Verifier, WebhookVerifier


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayAdapter:
    """An adapter: its client, its capabilities and its webhook verification.

    `is_contract`: several gateways implement it, and settings declare this one's capabilities.
    """

    over: Callable[[HttpClient, Capabilities], PaymentGateway]
    capabilities: Capabilities
    verifier: Callable[[Sequence[Secret]], Verifier]
    read_event: Callable[[bytes], GatewayEvent | None]
    headers: Mapping[str, str] = field(default_factory=dict)
    is_contract: bool = False


CONTRACT: Final = "contract"
ADAPTERS: Final[Mapping[str, GatewayAdapter]] = {
    CONTRACT: GatewayAdapter(
        over=lambda http, capabilities: SeedContractGateway(http, capabilities=capabilities),
        capabilities=seed_contract_gateway.CAPABILITIES,
        is_contract=True,
        verifier=WebhookVerifier,
        read_event=seed_contract_wire.read_event,
    ),
    "stripe": GatewayAdapter(
        over=lambda http, _: StripeGateway(http),
        capabilities=stripe_gateway.CAPABILITIES,
        verifier=StripeWebhookVerifier,
        read_event=stripe_webhooks.read_event,
        headers=HEADERS,
    ),
}
STORED_NAMES: Final[Mapping[str, str]] = {SeedContractGateway.name: CONTRACT}
"""Adapters stored in the Billing Database under another name; a setting can use either."""
