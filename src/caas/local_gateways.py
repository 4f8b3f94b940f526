"""Simulated payment gateways of `caas up`: the one of new payments, and those with payments here.

Rule a change must keep: a gateway that has payments in this machine's database, or that the
settings name, is simulated on its own state, whichever gateway new payments go to.
"""

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from caas.billing_database.gateway_calls import gateways_in
from caas.gateway_settings import KEPT, gateway_names, own_prefix
from caas.local_secrets import Secrets

SIMULATED_FEES: Final = "14,25,1500"
"""The simulated gateway's fees, in the format of CAAS_SETTLEMENT_FEES."""
ADYEN: Final = "adyen"
ADYEN_ACCOUNT: Final = "CaaSSimulatedECOM"


class SimulatedGateway(StrEnum):
    """Which payment gateway is simulated where none has an address."""

    CONTRACT = "contract"
    STRIPE = "stripe-fake"
    ADYEN = "adyen-fake"

    @property
    def adapter(self) -> str:
        """The adapter that speaks to it."""
        return self.removesuffix("-fake")

    @property
    def is_contract(self) -> bool:
        """Whether it is the documented contract's."""
        return self is SimulatedGateway.CONTRACT

    @property
    def program(self) -> str:
        """The name of the simulator's program."""
        return "gateway" if self.is_contract else self.adapter

    @property
    def state(self) -> str:
        """The file or folder of its state, in the data folder."""
        return "gateway.jsonl" if self.is_contract else self.adapter


def defaults(adapter: str, kept: Secrets) -> dict[str, str]:
    """Return the settings of the gateway of new payments, where none are given."""
    return {
        "CAAS_ADYEN_MERCHANT_ACCOUNT": ADYEN_ACCOUNT,
        "CAAS_GATEWAY_API_KEY": kept.gateway_api_key,
        "CAAS_GATEWAY_WEBHOOK_SECRETS": webhook_secret(kept, adapter),
    }


async def to_keep(environment: Mapping[str, str]) -> list[SimulatedGateway]:
    """Return the gateways to simulate beside the chosen one: those with payments here or named.

    One with an address is not simulated.
    """
    chosen, *named = gateway_names(environment)
    names = {*named, *await gateways_in(environment["CAAS_DATABASE_URL"])}
    return [
        it
        for it in SimulatedGateway
        if it.adapter in names
        and it.adapter != chosen
        and not environment.get(f"{own_prefix(it.adapter)}URL")
    ]


def settings_of_kept(
    gateway: SimulatedGateway, url: str, kept: Secrets, environment: Mapping[str, str]
) -> dict[str, str]:
    """Return the settings with which the platform keeps a simulated gateway."""
    begin = own_prefix(gateway.adapter)
    named = [name.strip() for name in environment.get(KEPT, "").split(",")]
    return {
        KEPT: ",".join(dict.fromkeys(filter(None, [*named, gateway.adapter]))),
        f"{begin}URL": url,
        f"{begin}API_KEY": kept.gateway_api_key,
        f"{begin}WEBHOOK_SECRETS": webhook_secret(kept, gateway.adapter),
    }


def webhook_secret(kept: Secrets, adapter: str) -> str:
    """Return the webhook secret as the gateway writes them: Adyen's are hexadecimal."""
    if adapter != ADYEN:
        return kept.gateway_webhook_secret
    return hashlib.sha256(kept.gateway_webhook_secret.encode()).hexdigest().upper()
