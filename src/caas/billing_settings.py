"""What the settings say of keeping the books: fees, reports, questions about settlements, heads.

Rules a change must keep: pure, as `settings`; every error names the setting and says what would be
right.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from caas.external_systems.vehicle_command_keys import VehicleCommandKeyError, VehicleCommandKeys
from caas.rules.settlement_fees import FeeTerms, FeeTermsError, read_fee_terms
from caas.rules.settlement_polls import PollTerms, PollTermsError, read_poll_terms
from caas.setting_values import SettingError, address_in


@dataclass(frozen=True, slots=True)
class HeadSettings:
    """The keys that sign heads of the history, None to make none, and where copies are kept.

    No place means the folder `heads` of the data folder.
    """

    keys: VehicleCommandKeys | None = field(repr=False, default=None)
    copies: tuple[str, ...] = field(repr=False, default=())


def settlement_fees(environment: Mapping[str, str]) -> FeeTerms | None:
    """Return what the gateway may keep.

    Raises:
        SettingError: it is not understood.
    """
    try:
        return read_fee_terms(environment.get("CAAS_SETTLEMENT_FEES", ""))
    except FeeTermsError as error:
        raise SettingError(
            "CAAS_SETTLEMENT_FEES is 'per mille,fixed part,fee of a dispute' in minor units, such "
            "as '14,25,1500'."
        ) from error


def engine_url(environment: Mapping[str, str]) -> str:
    """Return where reconciliation is computed, empty for this machine.

    Raises:
        SettingError: it is no address of a Spark Connect.
    """
    given = bool(environment.get("CAAS_ENGINE_URL"))
    return address_in(environment, "CAAS_ENGINE_URL", ("sc",)) if given else ""


def reports_folder(environment: Mapping[str, str]) -> Path | None:
    """Return the folder into which report files are dropped, None for nowhere.

    Raises:
        SettingError: it is no whole path.
    """
    text = environment.get("CAAS_REPORTS_FOLDER")
    if text and not Path(text).is_absolute():
        raise SettingError(
            f"CAAS_REPORTS_FOLDER is a whole path, such as /srv/reports, not '{text}'."
        )
    return Path(text) if text else None


def settlement_polls(environment: Mapping[str, str]) -> PollTerms:
    """Return when the gateway is asked about settlements.

    Raises:
        SettingError: it is not understood.
    """
    try:
        return read_poll_terms(
            environment.get("CAAS_SETTLEMENT_POLLS", ""),
            environment.get("CAAS_SETTLEMENT_POLLS_A_MINUTE", ""),
        )
    except PollTermsError as error:
        raise SettingError(
            "CAAS_SETTLEMENT_POLLS lists seconds, each at least 10, such as '60,300,900,3600', and "
            "CAAS_SETTLEMENT_POLLS_A_MINUTE is a whole number, such as '600'."
        ) from error


def head_settings(environment: Mapping[str, str]) -> HeadSettings:
    """Return what signs the heads of the history, and where they are kept.

    Raises:
        SettingError: a key cannot be used.
    """
    text = environment.get("CAAS_HEAD_KEYS")
    places = environment.get("CAAS_HEAD_COPIES", "").split(",")
    try:
        keys = VehicleCommandKeys.read(text) if text else None
    except VehicleCommandKeyError as error:
        raise SettingError(f"CAAS_HEAD_KEYS cannot be used. {error.sentence}") from error
    return HeadSettings(keys, tuple(place.strip() for place in places if place.strip()))
