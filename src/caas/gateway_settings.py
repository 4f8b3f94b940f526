"""Settings of the payment gateway: its adapter and capabilities (decision 90).

Rule a change must keep: capabilities are declared only where the adapter cannot know them.
"""

from collections.abc import Mapping

from caas.external_systems import declared_capabilities as declared
from caas.external_systems.gateway_adapters import ADAPTERS, CONTRACT, STORED_NAMES, GatewayAdapter
from caas.setting_values import SettingError


def gateway_adapter(environment: Mapping[str, str]) -> str:
    """Return the name of the gateway adapter.

    Raises:
        SettingError: the adapter is unknown.
    """
    name = _adapter_name(environment)
    if name not in ADAPTERS:
        known = ", ".join(sorted(ADAPTERS))
        raise SettingError(f"CAAS_GATEWAY is '{name}'; use one of {known}.")
    return name


def known_adapter(environment: Mapping[str, str]) -> GatewayAdapter:
    """Return the named adapter; `gateway_adapter` reports an unknown name."""
    return ADAPTERS.get(_adapter_name(environment), ADAPTERS[CONTRACT])


def gateway_capabilities(environment: Mapping[str, str]) -> declared.Capabilities:
    """Return the gateway's capabilities.

    Raises:
        SettingError: a declaration is invalid, or the adapter defines it.
    """
    known = known_adapter(environment)
    given = [name for name in declared.NAMES if environment.get(name)]
    if given and not known.is_contract:
        raise SettingError(
            f"{given[0]} declares a capability that the adapter of CAAS_GATEWAY "
            "defines itself. Remove the setting."
        )
    try:
        return declared.declared_capabilities(environment, known.capabilities)
    except declared.CapabilityTextError as error:
        raise SettingError(error.sentence) from error


def _adapter_name(environment: Mapping[str, str]) -> str:
    given = environment.get("CAAS_GATEWAY") or environment.get("CAAS_GATEWAY_ADAPTER") or CONTRACT
    return STORED_NAMES.get(given, given)
