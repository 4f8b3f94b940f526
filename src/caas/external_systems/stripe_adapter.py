"""The adapter of Stripe: what `CAAS_GATEWAY=stripe` reads and connects (decision 183).

It stands apart from the client, so that the command that makes the webhook endpoint and the tests
build the client without settings.
"""

from collections.abc import Mapping
from functools import partial
from typing import Final

from caas.external_systems.gateway_adapters import (
    PARTNER,
    ConfiguredGateway,
    GatewayAdapter,
    GatewayContext,
    read_access,
)
from caas.external_systems.http import HttpClient
from caas.external_systems.payment_gateway import PaymentGateway
from caas.external_systems.stripe_gateway import CAPABILITIES, HEADERS, StripeGateway
from caas.external_systems.stripe_webhooks import StripeWebhookVerifier, read_event_of_mode
from caas.setting_values import SettingError, SettingReader

FRAUD_WARNINGS: Final = "CAAS_STRIPE_FRAUD_WARNINGS"
CASE, IGNORE = "case", "ignore"
LIVE: Final = "_live_"
"""Part of every key of live mode."""


def _configure(environment: Mapping[str, str]) -> ConfiguredGateway:
    reader = SettingReader(environment)
    access = read_access(reader, StripeWebhookVerifier)
    heeds_fraud_warnings = reader.read(_heeds_fraud_warnings)
    reader.raise_problems()

    def connect(context: GatewayContext) -> PaymentGateway:
        http = HttpClient(access.url, partner=PARTNER, api_key=access.api_key, headers=HEADERS)
        return StripeGateway(
            http, context.customers, now=context.now, return_url=context.return_url,
            heeds_fraud_warnings=heeds_fraud_warnings,
        )  # fmt: skip

    return ConfiguredGateway(
        address=access.url,
        capabilities=CAPABILITIES,
        verifier=StripeWebhookVerifier(access.webhook_secrets),
        read_event=partial(read_event_of_mode, is_live=LIVE in access.api_key.reveal()),
        connect=connect,
    )


def _heeds_fraud_warnings(environment: Mapping[str, str]) -> bool:
    """Return whether early fraud warnings become cases.

    Raises:
        SettingError: the setting has another value.
    """
    given = environment.get(FRAUD_WARNINGS) or CASE
    if given not in (CASE, IGNORE):
        raise SettingError(f"{FRAUD_WARNINGS} is '{given}'; use {CASE} or {IGNORE}.")
    return given == CASE


STRIPE_ADAPTER: Final = GatewayAdapter(configure=_configure)
