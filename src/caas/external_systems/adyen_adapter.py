"""The adapter of Adyen: what `CAAS_GATEWAY=adyen` reads and connects.

Rule a change must keep: the key goes into Adyen's own header, and not as a bearer token.
"""

from collections.abc import Mapping
from functools import partial
from typing import Final

from caas.external_systems import adyen_reports
from caas.external_systems.adyen_gateway import CAPABILITIES, EVERY_DAY, AdyenGateway
from caas.external_systems.adyen_reports import ReportUser
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
from caas.external_systems.secret_settings import secret_in
from caas.setting_values import HTTP, SettingError, SettingReader, address_in, needed

MERCHANT_ACCOUNT: Final = "CAAS_ADYEN_MERCHANT_ACCOUNT"
REPORT_USER: Final = "CAAS_ADYEN_REPORT_USER"
REPORT_PASSWORD: Final = "CAAS_ADYEN_REPORT_PASSWORD"  # noqa: S105  # a setting's name
REPORT_URL: Final = "CAAS_ADYEN_REPORT_URL"
REPORTS_FOLDER: Final = "CAAS_REPORTS_FOLDER"
REPORT_DAYS: Final = "CAAS_ADYEN_REPORT_DAYS"
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
LIVE: Final = "-live."
"""In the host of every live endpoint, behind the prefix of the company."""


def _configure(environment: Mapping[str, str]) -> ConfiguredGateway:
    reader = SettingReader(environment)
    access = read_access(reader, AdyenWebhookVerifier)
    merchant = reader.read(lambda it: needed(it, MERCHANT_ACCOUNT))
    user = reader.read(_report_user)
    report_days = reader.read(_report_days)
    reader.raise_problems()
    is_live = LIVE in access.url

    def connect(context: GatewayContext) -> PaymentGateway:
        http = HttpClient(
            access.url, partner=PARTNER, headers={"X-API-Key": access.api_key.reveal()}
        )
        return AdyenGateway(
            http, context.reported, merchant_account=merchant, return_url=context.return_url,
            report_days=report_days,
        )  # fmt: skip

    return ConfiguredGateway(
        address=access.url,
        capabilities=CAPABILITIES,
        verifier=AdyenWebhookVerifier(access.webhook_secrets),
        read_event=read_event,
        connect=connect,
        split=partial(split, merchant_account=merchant, is_live=is_live),
        download=partial(adyen_reports.download, user) if user is not None else None,
    )


def _report_user(environment: Mapping[str, str]) -> ReportUser | None:
    """Return who downloads reports; None where no user is given.

    Raises:
        SettingError: a user without a password or without a folder for the files, or the reverse.
    """
    if not environment.get(REPORT_USER) and not environment.get(REPORT_PASSWORD):
        return None
    if not environment.get(REPORTS_FOLDER):
        raise SettingError(
            f"{REPORT_USER} is given, so {REPORTS_FOLDER} must be given too: reports of Adyen are "
            "downloaded into it."
        )
    is_live = LIVE in environment.get("CAAS_GATEWAY_URL", "")
    standing = adyen_reports.LIVE_URL if is_live else adyen_reports.TEST_URL
    return ReportUser(
        url=address_in({REPORT_URL: standing, **_given(environment)}, REPORT_URL, HTTP),
        name=needed(environment, REPORT_USER),
        password=secret_in(environment, REPORT_PASSWORD),
    )


def _report_days(environment: Mapping[str, str]) -> frozenset[int]:
    """Return the days of the week on which batches are settled, Monday as 0; every day by default.

    Raises:
        SettingError: a day is unknown or repeated.
    """
    text = environment.get(REPORT_DAYS)
    if not text:
        return EVERY_DAY
    days = [day.strip() for day in text.split(",")]
    if len(set(days)) != len(days) or not set(days) <= set(WEEKDAYS):
        raise SettingError(
            f"{REPORT_DAYS} lists the days on which Adyen settles batches, each once, such as "
            f"mon,tue,wed,thu,fri; not '{text}'."
        )
    return frozenset(WEEKDAYS.index(day) for day in days)


def _given(environment: Mapping[str, str]) -> Mapping[str, str]:
    return {name: value for name, value in environment.items() if value}


ADYEN_ADAPTER: Final = GatewayAdapter(configure=_configure, unused={MERCHANT_ACCOUNT: "none"})
