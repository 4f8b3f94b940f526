"""Which payment gateway is spoken to, and what it can do, as the environment says (decision 90).

Rules a change must keep: pure, as `settings`; what a gateway can do is declared only where its
adapter cannot know it.
"""

from collections.abc import Mapping

from caas.external_systems import declared_capabilities as declared
from caas.external_systems.gateway_adapters import ADAPTERS, CONTRACT, STORED_NAMES, GatewayAdapter
from caas.setting_values import SettingError


def gateway_adapter(environment: Mapping[str, str]) -> str:
    """Return which adapter speaks to the payment gateway.

    Raises:
        SettingError: there is none of this name.
    """
    name = _adapter_name(environment)
    if name not in ADAPTERS:
        known = ", ".join(sorted(ADAPTERS))
        raise SettingError(f"CAAS_GATEWAY names '{name}'; there are {known}.")
    return name


def known_adapter(environment: Mapping[str, str]) -> GatewayAdapter:
    """Return the adapter that is named; a name nobody knows is told of by `gateway_adapter`."""
    return ADAPTERS.get(_adapter_name(environment), ADAPTERS[CONTRACT])


def gateway_capabilities(environment: Mapping[str, str]) -> declared.Capabilities:
    """Return what the gateway can do.

    Raises:
        SettingError: a declaration is not understood, or the adapter knows better.
    """
    known = known_adapter(environment)
    given = [name for name in declared.NAMES if environment.get(name)]
    if given and not known.is_contract:
        raise SettingError(
            f"{given[0]} declares what a gateway of the documented contract can do, and the "
            "adapter that CAAS_GATEWAY names knows its gateway. Leave it out."
        )
    try:
        return declared.declared_capabilities(environment, known.capabilities)
    except declared.CapabilityTextError as error:
        raise SettingError(error.sentence) from error


def _adapter_name(environment: Mapping[str, str]) -> str:
    given = environment.get("CAAS_GATEWAY") or environment.get("CAAS_GATEWAY_ADAPTER") or CONTRACT
    return STORED_NAMES.get(given, given)
