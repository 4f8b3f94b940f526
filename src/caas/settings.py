"""The platform's settings (CAAS_... environment variables), read once by `app`.

Every setting has a default for local use, except secrets: outside `caas up` and `caas demo`, which
create their own, a missing secret is a startup error.

Rules a change must keep: pure, the environment is passed as a mapping; every error names the
setting and the valid values; a secret never appears in a repr.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from caas import access_settings
from caas.access_settings import (
    PartnerCredential,
    SecondFactorPolicy,
    partner_credential,
    rate_limit,
)
from caas.api.authentication import parse_api_keys
from caas.console.sign_in_keys import SignInKeys
from caas.external_systems.gateway_adapters import ConfiguredGateway
from caas.external_systems.http import Secret
from caas.external_systems.secret_settings import secret_in, webhook_secrets_in
from caas.external_systems.vehicle_command_keys import VehicleCommandKeyError, VehicleCommandKeys
from caas.external_systems.webhook_signatures import WebhookVerifier
from caas.gateway_settings import (
    AccessNames,
    HeadSettings,
    access_names,
    configured_gateways,
    engine_url,
    gateway_routes,
    head_settings,
    reports_folder,
    settlement_fees,
    settlement_polls,
)
from caas.rules.check_terms import CheckTerms, CheckTermsError, read_check_terms
from caas.rules.gateway_routes import GatewayRoutes
from caas.rules.market import (
    LOCALES,
    SAMPLE_SELLER,
    InvalidTaxIdError,
    Market,
    Seller,
    checked_tax_id,
)
from caas.rules.money import EXPONENTS
from caas.rules.rate_limits import (
    DEFAULT_ADDRESS_LIMIT,
    DEFAULT_KEY_LIMIT,
    RateLimit,
)
from caas.rules.retention import (
    DAYS_MIN,
    RetentionTerms,
    RetentionTermsError,
    read_retention_terms,
)
from caas.rules.settlement_dates import FeeTerms, PollTerms
from caas.setting_values import (
    HTTP,
    SettingError,
    SettingReader,
    address_in,
    is_address,
    needed,
    no_address,
)

DEFAULT_MARKET: Final = "Europe/Madrid,EUR,es"
MARKET_PARTS: Final = (3, 4)
PORT_MAX: Final = 65_535
IN_PROCESS_VEHICLES: Final = "in-process:"
"""CAAS_MQTT_URL for simulated in-process cars. Never a default: a real payment would be charged."""
TIME_SCALE_MAX: Final = 1_000_000.0
SELLER_PARTS: Final = (
    "name", "vat_id", "street", "postcode", "city", "country", "payment_terms",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, validated."""

    database_url: str = field(repr=False)
    data_dir: Path
    gateways: Mapping[str, ConfiguredGateway] = field(repr=False)
    gateway_names: Mapping[str, AccessNames]
    gateway_routes: GatewayRoutes
    mqtt_url: str = field(repr=False)
    vehicle_command_keys: VehicleCommandKeys = field(repr=False)
    factory_url: str
    registration_url: str
    transport_url: str
    factory_credential: PartnerCredential
    registration_credential: PartnerCredential
    transport_credential: PartnerCredential
    sign_in_keys: SignInKeys = field(repr=False)
    second_factor: SecondFactorPolicy
    strong_login_allowed: bool
    partner_webhook_secrets: tuple[Secret, ...]
    public_url: str
    api_keys: str = field(repr=False)
    engine_url: str
    settlement_fees: FeeTerms | None
    settlement_polls: PollTerms
    notify_url: str = field(repr=False)
    reports_folder: Path | None = None
    market: Market
    time_scale: float
    key_limit: RateLimit = DEFAULT_KEY_LIMIT
    address_limit: RateLimit = DEFAULT_ADDRESS_LIMIT
    trusted_proxies: tuple[str, ...] = ()
    local_subscribers: bool = False
    work_port: int | None = None
    heads: HeadSettings = field(repr=False, default_factory=HeadSettings)
    checks: CheckTerms = field(default_factory=CheckTerms)
    retention: RetentionTerms = field(default_factory=RetentionTerms)


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Validate the environment and return the settings.

    Raises:
        SettingError: settings are missing or invalid; the message lists all of them.
    """
    reader = SettingReader(environment)
    read = reader.read
    settings = Settings(
        database_url=read(database_url),
        data_dir=data_dir(environment),
        gateways=read(configured_gateways),
        gateway_names=access_names(environment),
        gateway_routes=read(gateway_routes),
        mqtt_url=read(_vehicles),
        vehicle_command_keys=read(vehicle_command_keys),
        factory_url=read(_http("CAAS_FACTORY_URL")),
        registration_url=read(_http("CAAS_REGISTRATION_URL")),
        transport_url=read(_http("CAAS_TRANSPORT_URL")),
        factory_credential=read(partial(partner_credential, access_settings.FACTORY)),
        registration_credential=read(partial(partner_credential, access_settings.REGISTRATION)),
        transport_credential=read(partial(partner_credential, access_settings.TRANSPORT)),
        sign_in_keys=read(access_settings.sign_in_keys),
        second_factor=read(access_settings.second_factor),
        strong_login_allowed=read(access_settings.strong_login_allowed),
        partner_webhook_secrets=read(
            lambda it: webhook_secrets_in(it, "CAAS_PARTNER_WEBHOOK_SECRETS", WebhookVerifier)
        ),
        public_url=read(_http("CAAS_PUBLIC_URL")),
        api_keys=read(_api_keys),
        engine_url=read(engine_url),
        settlement_fees=read(settlement_fees),
        settlement_polls=read(settlement_polls),
        notify_url=read(_notify_url),
        reports_folder=read(reports_folder),
        market=read(_market),
        time_scale=read(time_scale),
        key_limit=read(partial(rate_limit, "CAAS_KEY_RATE", DEFAULT_KEY_LIMIT)),
        address_limit=read(partial(rate_limit, "CAAS_ADDRESS_RATE", DEFAULT_ADDRESS_LIMIT)),
        trusted_proxies=read(access_settings.trusted_proxies),
        local_subscribers=read(access_settings.local_subscribers),
        work_port=read(_work_port),
        heads=read(head_settings),
        checks=read(check_terms),
        retention=read(retention_terms),
    )
    reader.raise_problems()
    return settings


def database_url(environment: Mapping[str, str]) -> str:
    """Return the address of the Billing Database.

    Raises:
        SettingError: it is missing or not a PostgreSQL address.
    """
    value = needed(environment, "CAAS_DATABASE_URL")
    if not is_address(value, ("postgresql", "postgres"), needs_host=False):
        raise no_address("CAAS_DATABASE_URL", "postgresql")
    return value


def data_dir(environment: Mapping[str, str]) -> Path:
    """Return the folder for this machine's data.

    `CAAS_HOME` is where `./caas` installed the platform.
    """
    home = Path(environment.get("CAAS_HOME") or ".caas")
    return Path(environment.get("CAAS_DATA_DIR") or home / "data").absolute()


def vehicle_command_keys(environment: Mapping[str, str]) -> VehicleCommandKeys:
    """Return the keys that sign commands to vehicles.

    Raises:
        SettingError: a key is missing or invalid.
    """
    value = needed(environment, "CAAS_VEHICLE_COMMAND_KEYS")
    try:
        return VehicleCommandKeys.read(value)
    except VehicleCommandKeyError as error:
        sentence = f"CAAS_VEHICLE_COMMAND_KEYS is invalid. {error.sentence}"
        raise SettingError(sentence) from error


def time_scale(environment: Mapping[str, str]) -> float:
    """Return the factor by which waits and deadlines are divided.

    Raises:
        SettingError: it is not a number above zero.
    """
    text = environment.get("CAAS_TIME_SCALE") or "1"
    try:
        scale = float(text)
    except ValueError:
        scale = 0.0
    if not 1 / TIME_SCALE_MAX <= scale <= TIME_SCALE_MAX:
        raise SettingError(
            f"CAAS_TIME_SCALE must be above zero and at most {TIME_SCALE_MAX:.0f}, "
            f"not '{text}'. Leave it unset in production, where it is 1."
        )
    return scale


def read_seller(text: str | None) -> Seller:
    """Parse `name;VAT id;street;postcode;city;country;payment terms`; by default the sample seller.

    An optional last part prefixes the series of an additional seller in this database.

    Raises:
        SettingError: a part is missing, or the VAT id is invalid in that country.
    """
    if not text:
        return SAMPLE_SELLER
    parts = [part.strip() for part in text.split(";")]
    series = parts.pop() if len(parts) > len(SELLER_PARTS) else ""
    fits = re.fullmatch("([A-Z0-9]{1,6}-)?", series)
    if len(parts) != len(SELLER_PARTS) or not all(parts) or not fits:
        parts_named = ";".join(SELLER_PARTS)
        raise SettingError(
            f"CAAS_SELLER must be '{parts_named}[;series, such as N-]' with every part filled in."
        )
    seller = Seller(**dict(zip(SELLER_PARTS, parts, strict=True)), series=series)
    try:
        checked_tax_id(seller.country, seller.vat_id)
    except InvalidTaxIdError as error:
        raise SettingError(f"CAAS_SELLER is invalid: {error.sentence}") from None
    return seller


def read_market(text: str) -> Market:
    """Parse `time zone,currency,language`, with an optional market code.

    Raises:
        SettingError: a part is missing or unknown.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) not in MARKET_PARTS:
        raise SettingError(
            "CAAS_MARKET must be 'time zone,currency,language' and optionally a "
            f"market code, such as '{DEFAULT_MARKET}', not '{text}'."
        )
    zone, currency, language, code = *parts, *([""] * (MARKET_PARTS[-1] - len(parts)))
    if currency not in EXPONENTS:
        raise SettingError(
            f"CAAS_MARKET has an unknown currency: '{currency}'. Use an ISO 4217 code."
        )
    if language not in LOCALES:
        known = ", ".join(sorted(LOCALES))
        raise SettingError(
            f"CAAS_MARKET has an unsupported language '{language}'; use one of {known}."
        )
    try:
        return Market(zone=ZoneInfo(zone), currency=currency, language=language, code=code)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise SettingError(
            f"CAAS_MARKET has an unknown time zone: '{zone}'. Use a name such as Europe/Madrid."
        ) from error


def check_terms(environment: Mapping[str, str]) -> CheckTerms:
    """Return the terms of the integrity checks.

    Raises:
        SettingError: the limit or the time of day is invalid.
    """
    try:
        return read_check_terms(
            environment.get("CAAS_CHECK_SECONDS_MAX", ""), environment.get("CAAS_FULL_CHECK_AT", "")
        )
    except CheckTermsError as error:
        raise SettingError(
            "CAAS_CHECK_SECONDS_MAX must be a number above zero, such as '300', and "
            "CAAS_FULL_CHECK_AT a time of day, such as '03:00'."
        ) from error


def retention_terms(environment: Mapping[str, str]) -> RetentionTerms:
    """Return how long the rows of each table are kept.

    Raises:
        SettingError: a table cannot be removed from, or its days are too few.
    """
    try:
        return read_retention_terms(environment.get("CAAS_RETENTION", ""))
    except RetentionTermsError as error:
        least = ", ".join(f"{table}={days}" for table, days in DAYS_MIN.items())
        raise SettingError(
            f"CAAS_RETENTION must list tables with days or 'keep', and at least {least}."
        ) from error


def _work_port(environment: Mapping[str, str]) -> int | None:
    text = environment.get("CAAS_WORK_PORT")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text) <= PORT_MAX):
        raise SettingError(f"CAAS_WORK_PORT must be a port from 0 to {PORT_MAX}, not '{text}'.")
    return int(text)


def _market(environment: Mapping[str, str]) -> Market:
    return replace(
        read_market(environment.get("CAAS_MARKET") or DEFAULT_MARKET),
        seller=read_seller(environment.get("CAAS_SELLER")),
    )


def _notify_url(environment: Mapping[str, str]) -> str:
    given = bool(environment.get("CAAS_NOTIFY_URL"))
    return secret_in(environment, "CAAS_NOTIFY_URL").reveal() if given else ""


def _api_keys(environment: Mapping[str, str]) -> str:
    value = needed(environment, "CAAS_API_KEYS")
    if not parse_api_keys(value):
        raise SettingError("CAAS_API_KEYS contains no key. An entry is name:scope+scope:key.")
    return value


def _vehicles(environment: Mapping[str, str]) -> str:
    if environment.get("CAAS_MQTT_URL") == IN_PROCESS_VEHICLES:
        return IN_PROCESS_VEHICLES
    return address_in(environment, "CAAS_MQTT_URL", ("mqtt", "mqtts"))


def _http(name: str) -> Callable[[Mapping[str, str]], str]:
    return lambda environment: address_in(environment, name, HTTP)
