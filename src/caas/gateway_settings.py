"""Settings of the payment gateway, its fees and settlements, report files, and history heads.

The gateway's adapter reads its own settings (decision 195).

Rules a change must keep: pure, as `settings`; capabilities are declared only where the adapter
cannot determine them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from caas.external_systems import gateway_adapters
from caas.external_systems.contract_adapter import DECLARING
from caas.external_systems.gateway_adapters import CONTRACT, ConfiguredGateway
from caas.external_systems.vehicle_command_keys import VehicleCommandKeyError, VehicleCommandKeys
from caas.rules.settlement_dates import (
    FeeTerms,
    FeeTermsError,
    PollTerms,
    PollTermsError,
    read_fee_terms,
    read_poll_terms,
)
from caas.setting_values import SettingError, address_in


def gateway_adapter(environment: Mapping[str, str]) -> str:
    """Return the name of the gateway adapter."""
    return gateway_adapters.adapter_name(environment)


def configured_gateway(environment: Mapping[str, str]) -> ConfiguredGateway:
    """Return the gateway, with the settings that its adapter reads.

    Raises:
        SettingError: the adapter is unknown, a setting is missing or invalid, or a setting declares
            a capability that the adapter defines.
    """
    name = gateway_adapters.adapter_name(environment)
    given = [it for it in DECLARING if environment.get(it)]
    if given and name != CONTRACT:
        raise SettingError(
            f"{given[0]} declares a capability that the adapter of CAAS_GATEWAY "
            "defines itself. Remove the setting."
        )
    return gateway_adapters.configured(name, environment)


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
