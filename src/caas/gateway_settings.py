"""Settings of the payment gateways, fees and settlements, report files, and history heads.

New payments go to `CAAS_GATEWAY`, or to the gateway of their market (decision 208). The gateways of
`CAAS_GATEWAYS_KEPT` serve the payments that they already have (decision 199). The adapter of each
reads its own settings (decision 195): a setting `CAAS_GATEWAY_<NAME>_...` is read as
`CAAS_GATEWAY_...` of that gateway, and comes before it.

Rules a change must keep: pure, as `settings`; capabilities are declared only where the adapter
cannot determine them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from caas.external_systems import gateway_adapters
from caas.external_systems.contract_adapter import DECLARING
from caas.external_systems.gateway_adapters import CONTRACT, ConfiguredGateway
from caas.external_systems.vehicle_command_keys import VehicleCommandKeyError, VehicleCommandKeys
from caas.rules.gateway_routes import GatewayRoutes
from caas.rules.settlement_dates import (
    FeeTerms,
    FeeTermsError,
    PollTerms,
    PollTermsError,
    read_fee_terms,
    read_poll_terms,
)
from caas.setting_values import (
    NotSetError,
    SettingError,
    SettingReader,
    SettingsError,
    address_in,
)

KEPT: Final = "CAAS_GATEWAYS_KEPT"
BY_MARKET: Final = "CAAS_GATEWAYS_BY_MARKET"
FALLBACK: Final = "CAAS_GATEWAYS_FALLBACK"
PREFIX: Final = "CAAS_GATEWAY_"
URL: Final = "CAAS_GATEWAY_URL"
API_KEY: Final = "CAAS_GATEWAY_API_KEY"
_SETTING: Final = re.compile(r"CAAS_GATEWAYS?[A-Z0-9_]*")


def gateway_names(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the gateways, that of new payments first."""
    kept = environment.get(KEPT, "").split(",")
    names = (gateway_adapters.adapter_name(environment), *(name.strip() for name in kept))
    return tuple(dict.fromkeys(name for name in names if name))


def configured_gateways(environment: Mapping[str, str]) -> Mapping[str, ConfiguredGateway]:
    """Return each gateway by its name, with the settings that its adapter reads.

    The gateway of new payments comes first.

    Raises:
        SettingError: an adapter is unknown, a setting is missing or invalid, or a setting declares
            a capability that the adapter defines; every problem is in it.
    """
    reader = SettingReader(environment)
    gateways = {
        name: reader.read(partial(_configured, name)) for name in gateway_names(environment)
    }
    reader.raise_problems()
    return gateways


def settings_of(name: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the settings as the adapter of one gateway reads them.

    The settings `CAAS_GATEWAY_...` without a name are those of the gateway of new payments.
    """
    own = own_prefix(name)
    named = {
        PREFIX + it.removeprefix(own): value for it, value in environment.items()
        if it.startswith(own) and value
    }  # fmt: skip
    is_of_new_payments = name == gateway_adapters.adapter_name(environment)
    others = {
        it: value for it, value in environment.items()
        if is_of_new_payments or not it.startswith(PREFIX)
    }  # fmt: skip
    return others | named


def gateway_routes(environment: Mapping[str, str]) -> GatewayRoutes:
    """Return where new payments go, beside the gateway of `CAAS_GATEWAY`.

    Raises:
        SettingError: a route is malformed, or leads to a gateway that is not configured.
    """
    by_market: dict[str, str] = {}
    for route in filter(None, (it.strip() for it in environment.get(BY_MARKET, "").split(","))):
        market, _, gateway = (part.strip() for part in route.partition("="))
        if not market or not gateway or "=" in gateway or market in by_market:
            raise SettingError(
                f"{BY_MARKET} must name each market once with its gateway, such as "
                f"'ES=stripe,PT=adyen', not '{environment[BY_MARKET]}'."
            )
        by_market[market] = _routed_to(BY_MARKET, gateway, environment)
    fallback = environment.get(FALLBACK, "").strip()
    return GatewayRoutes(
        by_market, _routed_to(FALLBACK, fallback, environment) if fallback else None
    )


def _routed_to(setting: str, name: str, environment: Mapping[str, str]) -> str:
    names = gateway_names(environment)
    if name in names:
        return name
    raise SettingError(
        f"{setting} names the gateway '{name}', which is not configured. Configured are: "
        f"{', '.join(names)}. Add '{name}' to {KEPT}, with its settings."
    )


class AccessNames(msgspec.Struct, frozen=True, kw_only=True):
    """The settings from which a gateway has its address and its key, for messages."""

    url: str = URL
    api_key: str = API_KEY


ACCESS_NAMES: Final = AccessNames()


def access_names(environment: Mapping[str, str]) -> Mapping[str, AccessNames]:
    """Return for each gateway the settings that it reads: its own come before those of all."""
    return {
        name: AccessNames(
            url=_name_read(URL, name, environment),
            api_key=_name_read(API_KEY, name, environment),
        )
        for name in gateway_names(environment)
    }


def own_prefix(name: str) -> str:
    """Return how the settings of one gateway begin, such as `CAAS_GATEWAY_STRIPE_`."""
    return f"{PREFIX}{name.upper().replace('-', '_')}_"


def _configured(name: str, environment: Mapping[str, str]) -> ConfiguredGateway:
    settings = settings_of(name, environment)
    try:
        _refuse_declarations(name, settings)
        return gateway_adapters.configured(name, settings)
    except SettingError as error:
        if name == gateway_adapters.adapter_name(environment):
            raise
        raise SettingsError([_with_own_names(it, name) for it in error.problems]) from error


def _refuse_declarations(name: str, settings: Mapping[str, str]) -> None:
    declared = [it for it in DECLARING if settings.get(it)]
    if declared and name != CONTRACT:
        raise SettingError(
            f"{declared[0]} declares a capability that the adapter '{name}' "
            "defines itself. Remove the setting."
        )


def _with_own_names(problem: SettingError, name: str) -> SettingError:
    """Return a problem of a gateway that has payments, with the names of its own settings."""
    if isinstance(problem, NotSetError):
        return NotSetError(_own_name(problem.name, name))
    return SettingError(_SETTING.sub(lambda it: _own_name(it[0], name), problem.sentence))


def _name_read(setting: str, name: str, environment: Mapping[str, str]) -> str:
    """Return the name under which one gateway's `setting` is given."""
    own = _own_name(setting, name)
    if name == gateway_adapters.adapter_name(environment) and not environment.get(own):
        return setting
    return own


def _own_name(setting: str, name: str) -> str:
    if setting == gateway_adapters.GATEWAY:
        return KEPT
    if not setting.startswith(PREFIX):
        return setting
    return own_prefix(name) + setting.removeprefix(PREFIX)


@dataclass(frozen=True, slots=True)
class HeadSettings:
    """The keys that sign heads of the history (None: no heads), and where copies are stored.

    Without a place, copies go to the folder `heads` of the data folder.
    """

    keys: VehicleCommandKeys | None = field(repr=False, default=None)
    copies: tuple[str, ...] = field(repr=False, default=())


def settlement_fees(environment: Mapping[str, str]) -> FeeTerms | None:
    """Return the gateway's fees.

    Raises:
        SettingError: the value is invalid.
    """
    try:
        return read_fee_terms(environment.get("CAAS_SETTLEMENT_FEES", ""))
    except FeeTermsError as error:
        raise SettingError(
            "CAAS_SETTLEMENT_FEES must be 'per mille,fixed part,dispute fee' in "
            "minor units, such as '14,25,1500'."
        ) from error


def engine_url(environment: Mapping[str, str]) -> str:
    """Return the address of the comparison engine; empty for this machine.

    Raises:
        SettingError: it is not a Spark Connect address.
    """
    given = bool(environment.get("CAAS_ENGINE_URL"))
    return address_in(environment, "CAAS_ENGINE_URL", ("sc",)) if given else ""


def reports_folder(environment: Mapping[str, str]) -> Path | None:
    """Return the drop folder for report files; None if there is none.

    Raises:
        SettingError: it is not an absolute path.
    """
    text = environment.get("CAAS_REPORTS_FOLDER")
    if text and not Path(text).is_absolute():
        raise SettingError(
            f"CAAS_REPORTS_FOLDER must be an absolute path, such as /srv/reports, not '{text}'."
        )
    return Path(text) if text else None


def settlement_polls(environment: Mapping[str, str]) -> PollTerms:
    """Return when the gateway is polled for settlements.

    Raises:
        SettingError: the value is invalid.
    """
    try:
        return read_poll_terms(
            environment.get("CAAS_SETTLEMENT_POLLS", ""),
            environment.get("CAAS_SETTLEMENT_POLLS_A_MINUTE", ""),
        )
    except PollTermsError as error:
        raise SettingError(
            "CAAS_SETTLEMENT_POLLS must list seconds, each at least 10, such as "
            "'60,300,900,3600', and CAAS_SETTLEMENT_POLLS_A_MINUTE must be a whole "
            "number, such as '600'."
        ) from error


def head_settings(environment: Mapping[str, str]) -> HeadSettings:
    """Return the keys that sign history heads, and where copies are stored.

    Raises:
        SettingError: a key is invalid.
    """
    text = environment.get("CAAS_HEAD_KEYS")
    places = environment.get("CAAS_HEAD_COPIES", "").split(",")
    try:
        keys = VehicleCommandKeys.read(text) if text else None
    except VehicleCommandKeyError as error:
        raise SettingError(f"CAAS_HEAD_KEYS is invalid. {error.sentence}") from error
    return HeadSettings(keys, tuple(place.strip() for place in places if place.strip()))
