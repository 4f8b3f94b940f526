"""Settings of the API: keys, webhook secrets, rate limits and the clock."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

import msgspec
from prometheus_client import CollectorRegistry

from caas.api.authentication import ConfiguredKey
from caas.external_systems.gateway_adapters import whole
from caas.external_systems.http import Secret
from caas.external_systems.seed_contract_wire import read_event
from caas.external_systems.vehicle_command_keys import PublicCommandKey
from caas.external_systems.webhook_signatures import Verifier
from caas.rules.rate_limits import DEFAULT_ADDRESS_LIMIT, DEFAULT_KEY_LIMIT, RateLimit


async def _at_once() -> None:
    """Do nothing."""


class Identified(Protocol):
    """An event with an id."""

    @property
    def id(self) -> str:
        """The id assigned by its sender."""
        ...


class GatewayWebhooks(msgspec.Struct, frozen=True):
    """How the webhooks of one gateway are verified, read and split, as its adapter does it."""

    verifier: Verifier
    read_event: Callable[[bytes], Identified | None] = read_event
    split: Callable[[bytes], tuple[bytes, ...]] = whole


class ApiSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Keys, webhook secrets (newest first), the clock and the metrics registry.

    `gateways` are those that may send webhooks, by name, that of new payments first. `now` is the
    clock for webhook timestamps. Webhooks of a sender without a secret are rejected.
    `on_webhook` is called after a webhook was stored, so that a worker in this process runs at
    once. `key_limit` limits each key, `address_limit` each address without a valid key. `degraded`
    lists unavailable parts; `before_metrics` updates the registry. `vehicle_command_keys` are the
    public keys that vehicles trust.
    """

    now: Callable[[], datetime]
    api_keys: Sequence[ConfiguredKey] = ()
    gateways: Mapping[str, GatewayWebhooks] = msgspec.field(default_factory=dict)
    factory_webhook_secrets: Sequence[Secret] = ()
    transport_webhook_secrets: Sequence[Secret] = ()
    on_webhook: Callable[[], None] = msgspec.field(default=lambda: None)
    vehicle_command_keys: Sequence[PublicCommandKey] = ()
    key_limit: RateLimit = DEFAULT_KEY_LIMIT
    address_limit: RateLimit = DEFAULT_ADDRESS_LIMIT
    degraded: Callable[[], list[str]] = list
    before_metrics: Callable[[], Awaitable[None]] = _at_once
    registry: CollectorRegistry = msgspec.field(default_factory=CollectorRegistry)
