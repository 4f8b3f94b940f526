"""Adapters of the payment gateway port, found by name in `CAAS_GATEWAY` (decision 195).

An adapter is a `GatewayAdapter` that a package names as an entry point of the group
`caas.gateways`. Ours are in `BUILT_IN`, and in `pyproject.toml` as an example for others.

Rules a change must keep: an adapter is imported only when it is chosen; a name of ours is never
another package's; an adapter reads its own settings and reports every problem at once.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from importlib.metadata import EntryPoint, entry_points
from typing import Final, Protocol

import msgspec

from caas.errors import StartupError
from caas.external_systems.http import Secret
from caas.external_systems.payment_gateway import (
    Capabilities,
    GatewayEvent,
    PaymentGateway,
)
from caas.external_systems.report_announcements import ReportDownload
from caas.external_systems.secret_settings import secret_in, webhook_secrets_in
from caas.external_systems.webhook_signatures import Verifier
from caas.setting_values import HTTP, SettingError, SettingReader, address_in

GROUP: Final = "caas.gateways"
GATEWAY: Final = "CAAS_GATEWAY"
CONTRACT: Final = "contract"
_OURS: Final[Mapping[str, str]] = {
    CONTRACT: "caas.external_systems.contract_adapter:CONTRACT_ADAPTER",
    "adyen": "caas.external_systems.adyen_adapter:ADYEN_ADAPTER",
    "stripe": "caas.external_systems.stripe_adapter:STRIPE_ADAPTER",
}
BUILT_IN: Final[Mapping[str, EntryPoint]] = {
    name: EntryPoint(name, value, GROUP) for name, value in _OURS.items()
}
PARTNER: Final = "The payment gateway"


class CustomerDirectory(Protocol):
    """Which of the gateway's customers is which of ours."""

    async def find(self, customer_reference: str) -> str | None:
        """Return the gateway's id of a customer, or None if there is none yet."""
        ...

    async def keep(self, customer_reference: str, gateway_customer: str) -> str:
        """Store the gateway's id of a customer; the first that was stored is returned."""
        ...


class ReportedEvents(Protocol):
    """The stored webhooks of the gateway, each as its adapter has split it off."""

    async def of_transaction(self, transaction_id: str) -> tuple[bytes, ...]:
        """Return what was reported of a transaction, the oldest first."""
        ...

    async def of_reference(self, reference: str) -> tuple[bytes, ...]:
        """Return what was reported under a reference of ours, the oldest first."""
        ...


class GatewayContext(msgspec.Struct, frozen=True, kw_only=True):
    """What an adapter may need of the platform.

    Its customers' ids at the gateway, what the gateway has reported, the address that pages lead
    back to, and the time, to compare with the gateway's.
    """

    customers: CustomerDirectory
    reported: ReportedEvents
    return_url: str
    now: Callable[[], datetime]


def whole(body: bytes) -> tuple[bytes, ...]:
    """Return the one event of a webhook: what most gateways send."""
    return (body,)


class ConfiguredGateway(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway whose settings are read; `address` is where it is, for messages.

    `split` returns the events in a verified webhook, each as it is stored and given to
    `read_event`; it raises ValueError where there are none to read. `download` writes an announced
    report to a file; None: none is downloaded.
    """

    address: str
    capabilities: Capabilities
    verifier: Verifier
    read_event: Callable[[bytes], GatewayEvent | None]
    connect: Callable[[GatewayContext], PaymentGateway]
    split: Callable[[bytes], tuple[bytes, ...]] = whole
    download: ReportDownload | None = None


class GatewayAdapter(msgspec.Struct, frozen=True, kw_only=True):
    """What an entry point of `caas.gateways` names.

    `configure` reads the adapter's settings from the environment and raises `SettingError`.
    `unused` has a value for each required setting beyond those of `GatewayAccess`: commands that
    only read the database use it where the setting is missing, and call nothing.
    """

    configure: Callable[[Mapping[str, str]], ConfiguredGateway]
    unused: Mapping[str, str] = msgspec.field(default_factory=dict)


class UnknownGatewayError(SettingError):
    """There is no gateway adapter of this name, or it cannot be used."""

    code = "unknown_gateway"


class GatewayAccess(msgspec.Struct, frozen=True, kw_only=True):
    """The settings that most adapters need."""

    url: str
    api_key: Secret
    webhook_secrets: tuple[Secret, ...]


def read_access(
    reader: SettingReader, verifier: Callable[[tuple[Secret, ...]], Verifier]
) -> GatewayAccess:
    """Read `CAAS_GATEWAY_URL`, `CAAS_GATEWAY_API_KEY` and `CAAS_GATEWAY_WEBHOOK_SECRETS`."""
    return GatewayAccess(
        url=reader.read(lambda it: address_in(it, "CAAS_GATEWAY_URL", HTTP)),
        api_key=reader.read(lambda it: secret_in(it, "CAAS_GATEWAY_API_KEY")),
        webhook_secrets=reader.read(
            lambda it: webhook_secrets_in(it, "CAAS_GATEWAY_WEBHOOK_SECRETS", verifier)
        ),
    )


def adapter_name(environment: Mapping[str, str]) -> str:
    """Return the name that the settings choose."""
    return environment.get(GATEWAY) or environment.get("CAAS_GATEWAY_ADAPTER") or CONTRACT


def known_names() -> list[str]:
    """Return the names of all installed adapters."""
    return sorted({*BUILT_IN, *entry_points(group=GROUP).names})


def adapter(name: str) -> GatewayAdapter:
    """Return the adapter of a name, imported.

    Raises:
        UnknownGatewayError: there is none, there are two, or it cannot be imported.
    """
    entry = BUILT_IN.get(name) or _registered(name)
    package = entry.dist.name if entry.dist else "caas"
    try:
        found = entry.load()
    except (ImportError, AttributeError) as error:
        raise UnknownGatewayError(
            f"The gateway adapter '{name}' of the package {package} cannot be imported "
            f"({type(error).__name__}: {error}). Install the package again."
        ) from error
    if not isinstance(found, GatewayAdapter):
        raise UnknownGatewayError(
            f"The entry point '{name}' of the package {package} is no GatewayAdapter: "
            f"'{entry.value}'. Correct it there."
        )
    return found


def configured(name: str, environment: Mapping[str, str]) -> ConfiguredGateway:
    """Return the gateway of a name with its settings.

    Raises:
        SettingError: the adapter or its settings cannot be used; every problem is in it.
    """
    chosen = adapter(name)
    try:
        return chosen.configure(environment)
    except SettingError:
        raise
    except StartupError as error:
        raise SettingError(error.sentence) from error


def _registered(name: str) -> EntryPoint:
    found = entry_points(group=GROUP, name=name)
    values = {it.value for it in found}
    if len(values) == 1:
        return next(iter(found))
    if not values:
        raise UnknownGatewayError(
            f"CAAS_GATEWAY is '{name}'; use one of {', '.join(known_names())}, or install a "
            f"package with an entry point '{name}' in the group {GROUP}."
        )
    packages = ", ".join(sorted({it.dist.name for it in found if it.dist}))
    raise UnknownGatewayError(
        f"CAAS_GATEWAY is '{name}', and several packages register this name: {packages}. "
        "Uninstall all but one."
    )
