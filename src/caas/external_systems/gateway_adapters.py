"""Payment gateway adapters by their name in CAAS_GATEWAY, and declared capabilities (decision 1).

Gateways that implement the seed's contract differ: some do not honour idempotency keys, some cannot
look up by reference. The settings declare such differences; undeclared capabilities are as in the
contract.

Rules a change must keep: each adapter verifies its own webhooks; only adapters of a shared contract
let settings declare capabilities; an invalid declaration is an error, never the default.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

from caas.errors import CaasError
from caas.external_systems import (
    seed_contract_gateway,
    seed_contract_wire,
    stripe_gateway,
    stripe_webhooks,
)
from caas.external_systems.http import HttpClient, Secret
from caas.external_systems.payment_gateway import Capabilities, GatewayEvent, PaymentGateway
from caas.external_systems.seed_contract_gateway import SeedContractGateway
from caas.external_systems.stripe_gateway import HEADERS, CustomerDirectory, StripeGateway
from caas.external_systems.stripe_webhooks import StripeWebhookVerifier
from caas.external_systems.webhook_signatures import Verifier, WebhookVerifier


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayContext:
    """What an adapter may need of the platform: its customers' ids there, and a way back to us."""

    customers: CustomerDirectory
    return_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayAdapter:
    """An adapter: its client, its capabilities and its webhook verification.

    `is_contract`: several gateways implement it, and settings declare this one's capabilities.
    """

    over: Callable[[HttpClient, Capabilities, GatewayContext], PaymentGateway]
    capabilities: Capabilities
    verifier: Callable[[Sequence[Secret]], Verifier]
    read_event: Callable[[bytes], GatewayEvent | None]
    headers: Mapping[str, str] = field(default_factory=dict)
    is_contract: bool = False


CONTRACT: Final = "contract"
ADAPTERS: Final[Mapping[str, GatewayAdapter]] = {
    CONTRACT: GatewayAdapter(
        over=lambda http, capabilities, _: SeedContractGateway(http, capabilities=capabilities),
        capabilities=seed_contract_gateway.CAPABILITIES,
        is_contract=True,
        verifier=WebhookVerifier,
        read_event=seed_contract_wire.read_event,
    ),
    "stripe": GatewayAdapter(
        over=lambda http, _, context: StripeGateway(
            http, context.customers, return_url=context.return_url
        ),
        capabilities=stripe_gateway.CAPABILITIES,
        verifier=StripeWebhookVerifier,
        read_event=stripe_webhooks.read_event,
        headers=HEADERS,
    ),
}
STORED_NAMES: Final[Mapping[str, str]] = {SeedContractGateway.name: CONTRACT}
"""Adapters stored in the Billing Database under another name; a setting can use either."""


__all__ = ["NAMES", "Capabilities", "CapabilityTextError", "declared_capabilities"]

KEY_LIFETIME: Final = "CAAS_GATEWAY_KEY_LIFETIME"
AUTHORIZATION_LIFETIME: Final = "CAAS_GATEWAY_AUTHORIZATION_LIFETIME"
SWITCHES: Final[Mapping[str, str]] = {
    "CAAS_GATEWAY_LOOKUP_BY_REFERENCE": "lookup_by_reference",
    "CAAS_GATEWAY_VOID": "void",
    "CAAS_GATEWAY_SEPARATE_CAPTURE": "separate_capture",
    "CAAS_GATEWAY_PARTIAL_CAPTURE": "partial_capture",
}
NAMES: Final = (KEY_LIFETIME, AUTHORIZATION_LIFETIME, *SWITCHES)
NO_LIFETIME: Final = "none"
_ANSWERS: Final[Mapping[str, bool]] = {"yes": True, "no": False}
_UNITS: Final[Mapping[str, str]] = {"m": "minutes", "h": "hours", "d": "days"}
_DURATION: Final = re.compile(r"([1-9][0-9]{0,4})([mhd])")


class CapabilityTextError(CaasError):
    """A declared capability has an invalid value."""

    code = "capability_text"


def declared_capabilities(environment: Mapping[str, str], contract: Capabilities) -> Capabilities:
    """Return the declared capabilities, with the contract's defaults.

    Raises:
        CapabilityTextError: a declaration is invalid; the sentence names it.
    """
    declared: dict[str, Any] = {}
    for name, capability in SWITCHES.items():
        if text := environment.get(name):
            declared[capability] = _switch(name, text)
    if text := environment.get(KEY_LIFETIME):
        declared["idempotency_key_lifetime"] = _lifetime(KEY_LIFETIME, text, or_none=True)
    if text := environment.get(AUTHORIZATION_LIFETIME):
        declared["authorization_lifetime"] = _lifetime(AUTHORIZATION_LIFETIME, text)
    return replace(contract, **declared)


def _switch(name: str, text: str) -> bool:
    if text not in _ANSWERS:
        raise CapabilityTextError(f"{name} is 'yes' or 'no', not '{text}'.")
    return _ANSWERS[text]


def _lifetime(name: str, text: str, *, or_none: bool = False) -> timedelta | None:
    if or_none and text == NO_LIFETIME:
        return None
    duration = _DURATION.fullmatch(text)
    if duration is None:
        none = ", or 'none' for a gateway that ignores keys" if or_none else ""
        raise CapabilityTextError(
            f"{name} is a number of minutes, hours or days, such as 30m, 24h or 7d{none}; "
            f"not '{text}'."
        )
    number, unit = duration.groups()
    return timedelta(**{_UNITS[unit]: int(number)})
