"""What the platform is told by its environment (CAAS_...), read once by `app`.

Every setting has a default that works on one machine, except secrets: outside `caas up` and
`caas demo`, which make their own, a missing secret is an error at the start.

Rules a change must keep: pure, the environment comes as a mapping; every error names the setting
and says what would be right; a secret never shows in a repr.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from caas.api import parse_api_keys
from caas.errors import StartupError
from caas.external_systems.gateway_adapters import ADAPTERS, SEED_CONTRACT
from caas.external_systems.http import Secret
from caas.external_systems.webhook_signatures import Verifier, WebhookVerifier
from caas.notifications.texts import LOCALES
from caas.rules.money import EXPONENTS
from caas.rules.rate_limits import (
    DEFAULT_ADDRESS_LIMIT,
    DEFAULT_KEY_LIMIT,
    PER_SECOND_MAX,
    RateLimit,
)
from caas.rules.settlement_fees import FeeTerms, FeeTermsError, read_fee_terms

DEFAULT_MARKET: Final = "Europe/Madrid,EUR,es"
MARKET_PARTS: Final = 3
IN_PROCESS_VEHICLES: Final = "in-process:"
"""As CAAS_MQTT_URL: simulated cars in this process. Never a default: they take a real charge."""
TIME_SCALE_MAX: Final = 1_000_000.0
_EXAMPLES: Final = {
    "http": "https://host:port",
    "mqtt": "mqtt://user:password@host:1883 or mqtts://host:8883",
    "postgresql": "postgresql://user:password@host:5432/name",
    "sc": "sc://host:15002",
}
_HTTP: Final = ("http", "https")


class SettingError(StartupError):
    """A setting is missing or not understood."""

    code = "setting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seller:
    """Who issues the invoices."""

    name: str
    vat_id: str
    street: str
    postcode: str
    city: str
    country: str
    payment_terms: str


SELLER_PARTS: Final = (
    "name", "vat_id", "street", "postcode", "city", "country", "payment_terms",
)  # fmt: skip
SAMPLE_SELLER: Final = Seller(
    name="Sample seller (set CAAS_SELLER)",
    vat_id="ESA12345674",
    street="Calle de Alcalá 1",
    postcode="28014",
    city="Madrid",
    country="ES",
    payment_terms="Charged to the payment method on file.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """Where we sell, time zone, currency and language, and who sells."""

    zone: ZoneInfo
    currency: str
    language: str
    seller: Seller = SAMPLE_SELLER


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting of the platform, checked."""

    database_url: str = field(repr=False)
    data_dir: Path
    gateway_adapter: str
    gateway_url: str
    gateway_api_key: Secret
    gateway_webhook_secrets: tuple[Secret, ...]
    mqtt_url: str = field(repr=False)
    factory_url: str
    registration_url: str
    transport_url: str
    partner_webhook_secrets: tuple[Secret, ...]
    public_url: str
    api_keys: str = field(repr=False)
    engine_url: str
    settlement_fees: FeeTerms | None
    notify_url: str = field(repr=False)
    market: Market
    time_scale: float
    key_limit: RateLimit = DEFAULT_KEY_LIMIT
    address_limit: RateLimit = DEFAULT_ADDRESS_LIMIT
    trusted_proxies: tuple[str, ...] = ()


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Check the environment and return what it says.

    Raises:
        SettingError: a setting is missing or wrong; the sentence names it.
    """
    adapter = gateway_adapter(environment)
    return Settings(
        database_url=database_url(environment),
        data_dir=data_dir(environment),
        gateway_adapter=adapter,
        gateway_url=_address(environment, "CAAS_GATEWAY_URL", _HTTP),
        gateway_api_key=_secret("CAAS_GATEWAY_API_KEY", environment),
        gateway_webhook_secrets=_webhook_secrets(
            environment, "CAAS_GATEWAY_WEBHOOK_SECRETS", ADAPTERS[adapter].verifier
        ),
        mqtt_url=_vehicles(environment),
        factory_url=_address(environment, "CAAS_FACTORY_URL", _HTTP),
        registration_url=_address(environment, "CAAS_REGISTRATION_URL", _HTTP),
        transport_url=_address(environment, "CAAS_TRANSPORT_URL", _HTTP),
        partner_webhook_secrets=_webhook_secrets(
            environment, "CAAS_PARTNER_WEBHOOK_SECRETS", WebhookVerifier
        ),
        public_url=_address(environment, "CAAS_PUBLIC_URL", _HTTP),
        api_keys=_api_keys(environment),
        engine_url=_engine_url(environment),
        settlement_fees=_settlement_fees(environment),
        notify_url=_notify_url(environment),
        market=replace(
            read_market(environment.get("CAAS_MARKET") or DEFAULT_MARKET),
            seller=read_seller(environment.get("CAAS_SELLER")),
        ),
        time_scale=time_scale(environment),
        key_limit=_rate_limit(environment, "CAAS_KEY_RATE", DEFAULT_KEY_LIMIT),
        address_limit=_rate_limit(environment, "CAAS_ADDRESS_RATE", DEFAULT_ADDRESS_LIMIT),
        trusted_proxies=_trusted_proxies(environment),
    )


def database_url(environment: Mapping[str, str]) -> str:
    """Return where the Billing Database is.

    Raises:
        SettingError: it is not set, or no address of a PostgreSQL.
    """
    value = _needed(environment, "CAAS_DATABASE_URL")
    if not _is_address(value, ("postgresql", "postgres"), needs_host=False):
        raise _no_address("CAAS_DATABASE_URL", "postgresql")
    return value


def data_dir(environment: Mapping[str, str]) -> Path:
    """Return the folder where this machine keeps what is its own."""
    return Path(environment.get("CAAS_DATA_DIR") or ".caas/data").absolute()


def gateway_adapter(environment: Mapping[str, str]) -> str:
    """Return which adapter speaks to the payment gateway.

    Raises:
        SettingError: there is none of this name.
    """
    name = environment.get("CAAS_GATEWAY_ADAPTER") or SEED_CONTRACT
    if name not in ADAPTERS:
        known = ", ".join(sorted(ADAPTERS))
        raise SettingError(f"CAAS_GATEWAY_ADAPTER names '{name}'; there are {known}.")
    return name


def time_scale(environment: Mapping[str, str]) -> float:
    """Return by how much waits and deadlines are divided.

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
            f"CAAS_TIME_SCALE is a number above zero, at most {TIME_SCALE_MAX:.0f}, not '{text}'. "
            "Leave it out in operation: there it is 1."
        )
    return scale


def read_seller(text: str | None) -> Seller:
    """Read `name;VAT id;street;postcode;city;country;payment terms`, the sample when not set.

    Raises:
        SettingError: a part is missing.
    """
    if not text:
        return SAMPLE_SELLER
    parts = [part.strip() for part in text.split(";")]
    if len(parts) != len(SELLER_PARTS) or not all(parts):
        raise SettingError(f"CAAS_SELLER is '{';'.join(SELLER_PARTS)}', each part filled in.")
    return Seller(**dict(zip(SELLER_PARTS, parts, strict=True)))


def read_market(text: str) -> Market:
    """Read `time zone,currency,language`.

    Raises:
        SettingError: a part is missing or unknown.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != MARKET_PARTS:
        raise SettingError(
            f"CAAS_MARKET is 'time zone,currency,language', such as '{DEFAULT_MARKET}', not "
            f"'{text}'."
        )
    zone, currency, language = parts
    if currency not in EXPONENTS:
        raise SettingError(f"CAAS_MARKET names an unknown currency: '{currency}'. Use ISO 4217.")
    if language not in LOCALES:
        known = ", ".join(sorted(LOCALES))
        raise SettingError(f"CAAS_MARKET names the language '{language}'; there are {known}.")
    try:
        return Market(zone=ZoneInfo(zone), currency=currency, language=language)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise SettingError(
            f"CAAS_MARKET names an unknown time zone: '{zone}'. Use a name such as Europe/Madrid."
        ) from error


def _rate_limit(environment: Mapping[str, str], name: str, default: RateLimit) -> RateLimit:
    text = environment.get(name)
    if not text:
        return default
    try:
        per_second, burst = (int(part) for part in text.split(","))
    except ValueError:
        per_second, burst = 0, 0
    if not (0 < per_second <= PER_SECOND_MAX and per_second <= burst <= PER_SECOND_MAX):
        raise SettingError(
            f"{name} is 'requests a second,requests at once', such as "
            f"'{default.per_second:.0f},{default.burst}': whole numbers, the second not smaller."
        )
    return RateLimit(per_second, burst)


def _trusted_proxies(environment: Mapping[str, str]) -> tuple[str, ...]:
    parts = tuple(
        part.strip()
        for part in environment.get("CAAS_TRUSTED_PROXIES", "").split(",")
        if part.strip()
    )
    try:
        for part in parts:
            if ip_network(part).prefixlen == 0:
                raise SettingError("CAAS_TRUSTED_PROXIES names every address; name your proxies.")
    except ValueError as error:
        raise SettingError(
            "CAAS_TRUSTED_PROXIES lists addresses and networks, such as '10.0.0.7,10.1.0.0/16'."
        ) from error
    return parts


def _needed(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "").strip()
    if not value:
        raise SettingError(
            f"{name} is not set. Set it in the environment or in .env, or use './caas up', which "
            "makes settings of its own."
        )
    return value


def _secret(name: str, environment: Mapping[str, str]) -> Secret:
    return _one_secret(name, _needed(environment, name))


def _one_secret(name: str, value: str) -> Secret:
    try:
        return Secret(value)
    except StartupError as error:
        raise SettingError(f"{name} cannot be used. {error.sentence}") from error


def _webhook_secrets(
    environment: Mapping[str, str], name: str, verifier: Callable[[Sequence[Secret]], Verifier]
) -> tuple[Secret, ...]:
    secrets = tuple(
        _one_secret(name, part.strip()) for part in _needed(environment, name).split(",")
    )
    try:
        verifier(secrets)
    except StartupError as error:
        raise SettingError(f"{name} cannot be used. {error.sentence}") from error
    return secrets


def _engine_url(environment: Mapping[str, str]) -> str:
    given = bool(environment.get("CAAS_ENGINE_URL"))
    return _address(environment, "CAAS_ENGINE_URL", ("sc",)) if given else ""


def _settlement_fees(environment: Mapping[str, str]) -> FeeTerms | None:
    try:
        return read_fee_terms(environment.get("CAAS_SETTLEMENT_FEES", ""))
    except FeeTermsError as error:
        raise SettingError(
            "CAAS_SETTLEMENT_FEES is 'per mille,fixed part,fee of a dispute' in minor units, such "
            "as '14,25,1500'."
        ) from error


def _notify_url(environment: Mapping[str, str]) -> str:
    given = bool(environment.get("CAAS_NOTIFY_URL"))
    return _secret("CAAS_NOTIFY_URL", environment).reveal() if given else ""


def _api_keys(environment: Mapping[str, str]) -> str:
    value = _needed(environment, "CAAS_API_KEYS")
    if not parse_api_keys(value):
        raise SettingError("CAAS_API_KEYS lists no key. An entry is name:scope+scope:key.")
    return value


def _vehicles(environment: Mapping[str, str]) -> str:
    if environment.get("CAAS_MQTT_URL") == IN_PROCESS_VEHICLES:
        return IN_PROCESS_VEHICLES
    return _address(environment, "CAAS_MQTT_URL", ("mqtt", "mqtts"))


def _address(environment: Mapping[str, str], name: str, schemes: tuple[str, ...]) -> str:
    value = _needed(environment, name)
    if not _is_address(value, schemes):
        raise _no_address(name, schemes[0])
    return value.rstrip("/")


def _is_address(value: str, schemes: tuple[str, ...], *, needs_host: bool = True) -> bool:
    try:
        parts = urlsplit(value)
        hosts = [urlsplit(f"//{host}") for host in parts.netloc.rpartition("@")[2].split(",")]
        reachable = all((host.hostname or not needs_host) and host.port != 0 for host in hosts)
    except ValueError:
        return False
    plain = schemes != _HTTP or not ("@" in parts.netloc or parts.query or parts.fragment)
    visible = value.isascii() and value.isprintable() and " " not in value
    return parts.scheme in schemes and reachable and plain and visible


def _no_address(name: str, scheme: str) -> SettingError:
    """Return what to say of a malformed address, which may hold a password and is not repeated."""
    return SettingError(f"{name} is not an address that can be used; write {_EXAMPLES[scheme]}.")
