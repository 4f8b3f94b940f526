"""The adapter of the seed's contract, with the capabilities that settings declare (decision 90).

Gateways that implement the contract differ: some do not honour idempotency keys, some cannot look
up by reference. Undeclared capabilities are as in the contract.

Rule a change must keep: an invalid declaration is an error, never the default.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from msgspec.structs import replace

from caas.external_systems.gateway_adapters import (
    PARTNER,
    ConfiguredGateway,
    GatewayAdapter,
    GatewayContext,
    read_access,
)
from caas.external_systems.gateway_amounts import TakenAmounts
from caas.external_systems.http import HttpClient
from caas.external_systems.payment_gateway import Capabilities, PaymentGateway
from caas.external_systems.seed_contract_gateway import CAPABILITIES, SeedContractGateway
from caas.external_systems.seed_contract_wire import read_event
from caas.external_systems.webhook_signatures import WebhookVerifier
from caas.rules.money import EXPONENTS
from caas.setting_values import SettingError, SettingReader

KEY_LIFETIME: Final = "CAAS_GATEWAY_KEY_LIFETIME"
AUTHORIZATION_LIFETIME: Final = "CAAS_GATEWAY_AUTHORIZATION_LIFETIME"
SWITCHES: Final[Mapping[str, str]] = {
    "CAAS_GATEWAY_LOOKUP_BY_REFERENCE": "lookup_by_reference",
    "CAAS_GATEWAY_VOID": "void",
    "CAAS_GATEWAY_SEPARATE_CAPTURE": "separate_capture",
    "CAAS_GATEWAY_PARTIAL_CAPTURE": "partial_capture",
}
CURRENCIES: Final = "CAAS_GATEWAY_CURRENCIES"
AMOUNT_MAX: Final = "CAAS_GATEWAY_AMOUNT_MAX"
DECLARING: Final = (KEY_LIFETIME, AUTHORIZATION_LIFETIME, CURRENCIES, AMOUNT_MAX, *SWITCHES)
"""Settings that declare a capability."""
NO_LIFETIME: Final = "none"
_ANSWERS: Final[Mapping[str, bool]] = {"yes": True, "no": False}
_UNITS: Final[Mapping[str, str]] = {"m": "minutes", "h": "hours", "d": "days"}
_CURRENCY: Final = re.compile(r"([A-Z]{3})(?:=([1-9][0-9]{0,12}))?")
_AMOUNT: Final = re.compile(r"[1-9][0-9]{0,12}")
_DURATION: Final = re.compile(r"([1-9][0-9]{0,4})([mhd])")


def declared_capabilities(environment: Mapping[str, str]) -> Capabilities:
    """Return the declared capabilities, with the contract's defaults.

    Raises:
        SettingError: a declaration is invalid; the sentence names it.
    """
    declared: dict[str, Any] = {}
    for name, capability in SWITCHES.items():
        if text := environment.get(name):
            declared[capability] = _switch(name, text)
    if text := environment.get(KEY_LIFETIME):
        declared["idempotency_key_lifetime"] = _lifetime(KEY_LIFETIME, text, or_none=True)
    if text := environment.get(AUTHORIZATION_LIFETIME):
        declared["authorization_lifetime"] = _lifetime(AUTHORIZATION_LIFETIME, text)
    amounts = TakenAmounts(**_currencies(environment), largest=_amount_max(environment))
    return replace(CAPABILITIES, amounts=amounts, **declared)


def _configure(environment: Mapping[str, str]) -> ConfiguredGateway:
    reader = SettingReader(environment)
    access = read_access(reader, WebhookVerifier)
    capabilities = reader.read(declared_capabilities)
    reader.raise_problems()

    def connect(_context: GatewayContext) -> PaymentGateway:
        http = HttpClient(access.url, partner=PARTNER, api_key=access.api_key)
        return SeedContractGateway(http, capabilities=capabilities)

    return ConfiguredGateway(
        address=access.url,
        capabilities=capabilities,
        verifier=WebhookVerifier(access.webhook_secrets),
        read_event=read_event,
        connect=connect,
    )


CONTRACT_ADAPTER: Final = GatewayAdapter(configure=_configure)


def _switch(name: str, text: str) -> bool:
    if text not in _ANSWERS:
        raise SettingError(f"{name} is 'yes' or 'no', not '{text}'.")
    return _ANSWERS[text]


def _currencies(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the declared currencies, and the smallest amount of those that have one."""
    text = environment.get(CURRENCIES)
    if not text:
        return {}
    smallest: dict[str, int] = {}
    currencies = set()
    for part in text.split(","):
        found = _CURRENCY.fullmatch(part.strip())
        if found is None or found[1] not in EXPONENTS or found[1] in currencies:
            raise SettingError(
                f"{CURRENCIES} lists each currency once, with its smallest amount in minor units "
                f"where it has one, such as EUR=50,GBP=30,JPY; not '{text}'."
            )
        currencies.add(found[1])
        if found[2]:
            smallest[found[1]] = int(found[2])
    return {"currencies": frozenset(currencies), "smallest": smallest}


def _amount_max(environment: Mapping[str, str]) -> int | None:
    text = environment.get(AMOUNT_MAX)
    if text and not _AMOUNT.fullmatch(text):
        raise SettingError(
            f"{AMOUNT_MAX} is the largest amount that the gateway charges, a whole number of minor "
            f"units such as 99999999; not '{text}'."
        )
    return int(text) if text else None


def _lifetime(name: str, text: str, *, or_none: bool = False) -> timedelta | None:
    if or_none and text == NO_LIFETIME:
        return None
    duration = _DURATION.fullmatch(text)
    if duration is None:
        none = ", or 'none' for a gateway that ignores keys" if or_none else ""
        raise SettingError(
            f"{name} is a number of minutes, hours or days, such as 30m, 24h or 7d{none}; "
            f"not '{text}'."
        )
    number, unit = duration.groups()
    return timedelta(**{_UNITS[unit]: int(number)})
