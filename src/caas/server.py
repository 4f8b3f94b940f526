"""The API and the channels on one port, until the process is told to stop.

Rules a change must keep: a port that cannot be had is a sentence, not a traceback; when the task is
told to stop, requests under way are answered first.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import uvicorn
from prometheus_client import CollectorRegistry

from caas.access_settings import SecondFactorPolicy
from caas.api.application import build_api, is_of_api
from caas.api.authentication import Authentication
from caas.api.call import Call
from caas.api.configured_keys import parse_api_keys
from caas.api.settings import ApiSettings
from caas.app import now
from caas.billing_database.api_keys import ApiKeys
from caas.billing_database.simulated_calendar import SimulatedCalendar
from caas.console.application import build_console
from caas.console.request import PageRequest
from caas.console.settings import ConsoleSettings
from caas.errors import StartupError
from caas.external_systems.gateway_adapters import ADAPTERS
from caas.external_systems.outbox_letters import OutboxLetters
from caas.external_systems.simulator_control import SimulatorControl
from caas.platform import Platform
from caas.platform_metrics import PlatformMetrics
from caas.settings import Settings
from caas.web.application import WebApplication, side_by_side
from caas.web.http_protocol import server_config


@dataclass(frozen=True, slots=True)
class Simulated:
    """What is simulated: control planes by name, the calendar where all the world is, the mail."""

    controls: Mapping[str, str]
    calendar: SimulatedCalendar | None = None
    letters: OutboxLetters | None = None


async def store_api_keys(platform: Platform, settings: Settings) -> None:
    """Store the API keys of the settings; to be done before the port is taken.

    Raises:
        KeyKeepsScopesError: the settings give a key other scopes than it has.
    """
    keys = Authentication(ApiKeys(platform.tables.database))
    await keys.bootstrap(parse_api_keys(settings.api_keys))


async def serve(
    platform: Platform,
    settings: Settings,
    *,
    listener: socket.socket,
    on_listening: Callable[[], None] = lambda: None,
    simulated: Simulated | None = None,
) -> None:
    """Serve the API and the channels until the process is told to stop, or the task is.

    The listener is closed in the end.
    """
    simulators = SimulatorControl(simulated.controls) if simulated else None
    signs = PlatformMetrics(platform)
    served = side_by_side(
        _api(platform, settings, signs),
        _console(platform, settings, simulators, simulated),
        is_for_machines=is_of_api,
    )
    with listener:
        server = Server(
            server_config(served, trusted_proxies=settings.trusted_proxies), on_listening
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            server.should_exit = True
            await serving
            raise
        finally:
            await signs.close()
            if simulators is not None:
                await simulators.close()


class Server(uvicorn.Server):
    """uvicorn, which says when it listens and leaves the signals to whoever runs the process.

    With its own handlers it would stop by itself, beside a process that goes on calling it.
    """

    def __init__(
        self, config: uvicorn.Config, on_listening: Callable[[], None] = lambda: None
    ) -> None:
        """Serve as configured; call back when the port answers."""
        super().__init__(config)
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        if self.started:
            self._on_listening()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take no signal."""
        yield


def _console(
    platform: Platform,
    settings: Settings,
    simulators: SimulatorControl | None,
    simulated: Simulated | None,
) -> WebApplication[PageRequest]:
    return build_console(
        platform,
        ConsoleSettings(
            public_url=settings.public_url,
            zone=settings.market.zone,
            language=settings.market.language,
            address_limit=settings.address_limit,
            sign_in_keys=settings.sign_in_keys,
            second_factor_required=settings.second_factor is SecondFactorPolicy.REQUIRED,
        ),
        simulators=simulators,
        calendar=simulated.calendar if simulated else None,
        letters=simulated.letters if simulated else None,
    )


def _api(platform: Platform, settings: Settings, signs: PlatformMetrics) -> WebApplication[Call]:
    registry = CollectorRegistry()
    registry.register(signs)
    adapter, partner_secrets = ADAPTERS[settings.gateway_adapter], settings.partner_webhook_secrets
    return build_api(
        platform,
        ApiSettings(
            now=now,
            api_keys=parse_api_keys(settings.api_keys),
            gateway_webhook_secrets=settings.gateway_webhook_secrets,
            gateway_verifier=adapter.verifier,
            read_gateway_event=adapter.read_event,
            factory_webhook_secrets=partner_secrets,
            transport_webhook_secrets=partner_secrets,
            on_webhook=platform.jobs.wake,
            registry=registry,
            degraded=signs.degraded,
            before_metrics=signs.refresh,
            vehicle_command_keys=settings.vehicle_command_keys.public,
            key_limit=settings.key_limit,
            address_limit=settings.address_limit,
        ),
    )


def listening(host: str, port: int) -> socket.socket:
    """Take the port the platform is served on; nobody else can take it from then on.

    Raises:
        StartupError: it is in use, or may not be used.
    """
    listener = socket.socket(socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except (OSError, OverflowError) as error:
        listener.close()
        because = error.strerror if isinstance(error, OSError) else "no port has this number"
        raise StartupError(
            f"Port {port} on {host} cannot be used ({because}). Choose another with --port."
        ) from error
    return listener
