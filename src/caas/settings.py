"""What the platform is told by its environment (CAAS_...), read once by `app`.

Every setting has a default that works on one machine, except secrets: outside `caas up` and
`caas demo`, which make their own, a missing secret is an error at the start.

Rules a change must keep: pure, the environment comes as a mapping; every error names the setting
and says what would be right; a secret never shows in a repr.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from caas.errors import StartupError
from caas.external_systems.http import Secret
from caas.rules.money import EXPONENTS

DEFAULT_MARKET: Final = "Europe/Madrid,EUR,es"
MARKET_PARTS: Final = 3


class SettingError(StartupError):
    """A setting is missing or not understood."""

    code = "setting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """Where we sell: time zone, currency and language."""

    zone: ZoneInfo
    currency: str
    language: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting of the platform, checked."""

    database_url: str
    data_dir: Path
    gateway_url: str
    gateway_api_key: Secret
    gateway_webhook_secrets: tuple[Secret, ...]
    mqtt_url: str
    factory_url: str
    registration_url: str
    transport_url: str
    partner_webhook_secrets: tuple[Secret, ...]
    public_url: str
    api_keys: str
    engine_url: str
    notify_url: str
    market: Market
    time_scale: float


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Check the environment and return what it says.

    Raises:
        SettingError: a setting is missing or wrong; the sentence names it.
    """
    return Settings(
        database_url=environment.get("CAAS_DATABASE_URL", ""),
        data_dir=data_dir(environment),
        gateway_url=_address(environment, "CAAS_GATEWAY_URL", ("http", "https")),
        gateway_api_key=Secret(_needed(environment, "CAAS_GATEWAY_API_KEY")),
        gateway_webhook_secrets=_secrets(environment, "CAAS_GATEWAY_WEBHOOK_SECRETS"),
        mqtt_url=environment.get("CAAS_MQTT_URL", ""),
        factory_url=_address(environment, "CAAS_FACTORY_URL", ("http", "https")),
        registration_url=_address(environment, "CAAS_REGISTRATION_URL", ("http", "https")),
        transport_url=_address(environment, "CAAS_TRANSPORT_URL", ("http", "https")),
        partner_webhook_secrets=_secrets(environment, "CAAS_PARTNER_WEBHOOK_SECRETS"),
        public_url=_address(environment, "CAAS_PUBLIC_URL", ("http", "https")),
        api_keys=_needed(environment, "CAAS_API_KEYS"),
        engine_url=environment.get("CAAS_ENGINE_URL", ""),
        notify_url=environment.get("CAAS_NOTIFY_URL", ""),
        market=read_market(environment.get("CAAS_MARKET", DEFAULT_MARKET)),
        time_scale=time_scale(environment),
    )


def data_dir(environment: Mapping[str, str]) -> Path:
    """Return the folder where this machine keeps what is its own."""
    return Path(environment.get("CAAS_DATA_DIR") or ".caas/data").absolute()


def time_scale(environment: Mapping[str, str]) -> float:
    """Return by how much waits and deadlines are divided.

    Raises:
        SettingError: it is not a number above zero.
    """
    text = environment.get("CAAS_TIME_SCALE", "1")
    try:
        scale = float(text)
    except ValueError:
        scale = 0.0
    if not 0 < scale < float("inf"):
        raise SettingError(f"CAAS_TIME_SCALE is a number above zero, not '{text}'.")
    return scale


def read_market(text: str) -> Market:
    """Read `time zone,currency,language`.

    Raises:
        SettingError: a part is missing or unknown.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != MARKET_PARTS or parts[1] not in EXPONENTS:
        raise SettingError(f"CAAS_MARKET is 'time zone,currency,language', not '{text}'.")
    try:
        return Market(zone=ZoneInfo(parts[0]), currency=parts[1], language=parts[2])
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise SettingError(f"CAAS_MARKET names an unknown time zone: '{parts[0]}'.") from error


def _needed(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "").strip()
    if not value:
        raise SettingError(
            f"{name} is not set. Set it in the environment or in .env, or use './caas up', which "
            "makes settings of its own."
        )
    return value


def _secrets(environment: Mapping[str, str], name: str) -> tuple[Secret, ...]:
    return tuple(Secret(part.strip()) for part in _needed(environment, name).split(","))


def _address(environment: Mapping[str, str], name: str, schemes: tuple[str, ...]) -> str:
    value = _needed(environment, name)
    if not value.startswith(tuple(f"{scheme}://" for scheme in schemes)):
        raise SettingError(f"{name} is an address such as {schemes[0]}://host:port, not '{value}'.")
    return value.rstrip("/")
