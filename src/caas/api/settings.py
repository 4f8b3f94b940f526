"""What the API is told when it is built.

Rule a change must keep: nothing here is read from the environment by itself.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from prometheus_client import CollectorRegistry

from caas.api.configured_keys import ConfiguredKey
from caas.external_systems.http import Secret
from caas.external_systems.seed_contract_wire import read_event
from caas.external_systems.vehicle_command_keys import PublicCommandKey
from caas.external_systems.webhook_signatures import Verifier, WebhookVerifier
from caas.rules.rate_limits import DEFAULT_ADDRESS_LIMIT, DEFAULT_KEY_LIMIT, RateLimit


async def _at_once() -> None:
    """Bring nothing up to date."""


class Identified(Protocol):
    """An event that has an id."""

    @property
    def id(self) -> str:
        """The id its sender gave it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """Keys, webhook secrets (newest first), the clock and the registry of metrics.

    `gateway_verifier` believes the gateway's webhooks and `read_gateway_event` understands them,
    both as its adapter does. `now` is the clock against which webhook timestamps are compared.
    Without secrets for a sender its webhooks are refused. `on_webhook` is called after a webhook
    was stored, so that a worker in the same process looks at once. `key_limit` is how often one key
    may call, `address_limit` how often one address may without a valid key. `degraded` says which
    parts do not answer, and `before_metrics` brings the registry up to date. `vehicle_command_keys`
    are the public keys that vehicles are to believe.
    """

    now: Callable[[], datetime]
    api_keys: Sequence[ConfiguredKey] = ()
    gateway_name: str = "gateway"
    gateway_webhook_secrets: Sequence[Secret] = ()
    gateway_verifier: Callable[[Sequence[Secret]], Verifier] = WebhookVerifier
    read_gateway_event: Callable[[bytes], Identified | None] = read_event
    factory_webhook_secrets: Sequence[Secret] = ()
    transport_webhook_secrets: Sequence[Secret] = ()
    on_webhook: Callable[[], None] = field(default=lambda: None)
    vehicle_command_keys: Sequence[PublicCommandKey] = ()
    key_limit: RateLimit = DEFAULT_KEY_LIMIT
    address_limit: RateLimit = DEFAULT_ADDRESS_LIMIT
    degraded: Callable[[], list[str]] = list
    before_metrics: Callable[[], Awaitable[None]] = _at_once
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
