"""The adapter of Adyen: what `CAAS_GATEWAY=adyen` reads and connects.

Rule a change must keep: the key goes into Adyen's own header, and not as a bearer token.
"""

from collections.abc import Mapping
from functools import partial
from typing import Final

from caas.external_systems.adyen_gateway import CAPABILITIES, AdyenGateway
from caas.external_systems.adyen_signatures import AdyenWebhookVerifier
from caas.external_systems.adyen_webhooks import read_event, split
from caas.external_systems.gateway_adapters import (
    PARTNER,
    ConfiguredGateway,
    GatewayAdapter,
    GatewayContext,
    read_access,
)
from caas.external_systems.http import HttpClient
from caas.external_systems.payment_gateway import PaymentGateway
from caas.setting_values import SettingReader, needed

MERCHANT_ACCOUNT: Final = "CAAS_ADYEN_MERCHANT_ACCOUNT"
LIVE: Final = "-live."
"""In the host of every live endpoint, behind the prefix of the company."""


def _configure(environment: Mapping[str, str]) -> ConfiguredGateway:
    reader = SettingReader(environment)
    access = read_access(reader, AdyenWebhookVerifier)
    merchant = reader.read(lambda it: needed(it, MERCHANT_ACCOUNT))
    reader.raise_problems()

    def connect(context: GatewayContext) -> PaymentGateway:
        http = HttpClient(
            access.url, partner=PARTNER, headers={"X-API-Key": access.api_key.reveal()}
        )
        return AdyenGateway(
            http, context.reported, merchant_account=merchant, return_url=context.return_url
        )

    return ConfiguredGateway(
        address=access.url,
        capabilities=CAPABILITIES,
        verifier=AdyenWebhookVerifier(access.webhook_secrets),
        read_event=read_event,
        connect=connect,
        split=partial(split, merchant_account=merchant, is_live=LIVE in access.url),
    )


ADYEN_ADAPTER: Final = GatewayAdapter(configure=_configure, unused={MERCHANT_ACCOUNT: "none"})
