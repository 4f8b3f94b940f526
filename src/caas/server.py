"""HTTP listeners: the API and the channels on one port, and the worker's health port.

The worker's port serves /live, /ready and /metrics. It requires no key and exposes counts, never
names; keep it inside a private network.

Rules a change must keep: a port that cannot be used is one sentence, not a traceback; on shutdown,
requests in progress are answered first; the worker's port has the limits of the API's port, gives
the same responses, and responds while the database is unavailable.
"""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from caas.access_settings import SecondFactorPolicy
from caas.api.application import build_api, is_of_api
from caas.api.authentication import Authentication, Call, parse_api_keys
from caas.api.settings import ApiSettings, GatewayWebhooks
from caas.api.status import ReadyAnswer
from caas.app import now
from caas.billing_database.api_keys import ApiKeys
from caas.billing_database.simulated_calendar import SimulatedCalendar
from caas.console.application import build_console
from caas.console.request import PageRequest
from caas.console.settings import ConsoleSettings
from caas.errors import StartupError
from caas.external_systems.local_outbox import OutboxLetters
from caas.external_systems.simulator_control import SimulatorControl
from caas.platform import Platform
from caas.platform_metrics import PlatformMetrics
from caas.settings import Settings
from caas.web.application import WebApplication, side_by_side
from caas.web.http_protocol import server_config
from caas.web.problems import MEDIA_TYPE, NotReadyError, problem_of


class Simulated(msgspec.Struct, frozen=True):
    """What is simulated: control planes by name, the calendar, and the outbox."""

    controls: Mapping[str, str]
    calendar: SimulatedCalendar | None = None
    letters: OutboxLetters | None = None


async def store_api_keys(platform: Platform, settings: Settings) -> None:
    """Store the API keys of the settings; call this before opening the port.

    Raises:
        KeyKeepsScopesError: the settings give a stored key other scopes.
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
    """Serve the API and the channels until the process or the task is stopped.

    The listener is closed at the end.
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
    """uvicorn with a callback when it listens, and without its own signal handlers.

    With its own handlers it would stop while the process still uses it.
    """

    def __init__(
        self, config: uvicorn.Config, on_listening: Callable[[], None] = lambda: None
    ) -> None:
        """Serve as configured; call back when the port is open."""
        super().__init__(config)
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and report it."""
        await super().startup(sockets)
        if self.started:
            self._on_listening()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle no signals."""
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
    partner_secrets = settings.partner_webhook_secrets
    return build_api(
        platform,
        ApiSettings(
            now=now,
            api_keys=parse_api_keys(settings.api_keys),
            gateways={
                name: GatewayWebhooks(it.verifier, it.read_event, it.split)
                for name, it in settings.gateways.items()
            },
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
    """Bind the platform's port exclusively.

    Raises:
        StartupError: it is in use or not allowed.
    """
    # With its protocol named, asyncio sends each part of a response at once (TCP_NODELAY).
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
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


TEXT: Final = b"text/plain; version=0.0.4; charset=utf-8"
JSON: Final = b"application/json"
STARTED_LOOKS_SECONDS: Final = 0.01

Send = Callable[[dict[str, Any]], Awaitable[None]]


@asynccontextmanager
async def open_port(host: str, port: int, signs: PlatformMetrics) -> AsyncIterator[int]:
    """Serve the endpoint during the block.

    Raises:
        StartupError: the port cannot be used.
    """
    registry = CollectorRegistry()
    registry.register(signs)

    async def answer(scope: dict[str, Any], _receive: object, send: Send) -> None:
        status, kind, body = await _answered(scope["path"], signs, registry)
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    with listening(host, port) as listener:
        server = Server(server_config(answer, lifespan="off"))
        serving = asyncio.get_running_loop().create_task(server.serve(sockets=[listener]))
        while not (server.started or serving.done()):  # noqa: ASYNC110  # it has no event for it
            await asyncio.sleep(STARTED_LOOKS_SECONDS)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await serving


async def _answered(
    path: str, signs: PlatformMetrics, registry: CollectorRegistry
) -> tuple[int, bytes, bytes]:
    if path == "/live":
        return 200, JSON, b'{"status":"alive"}'
    if path == "/ready":
        because = await signs.why_not_ready()
        if because is not None:
            problem = problem_of(NotReadyError(because), request_id=secrets.token_hex(8))
            return problem.status, MEDIA_TYPE, msgspec.json.encode(problem)
        return 200, JSON, msgspec.json.encode(ReadyAnswer("ready", signs.degraded()))
    if path == "/metrics":
        await signs.refresh()
        return 200, TEXT, generate_latest(registry)
    return 404, JSON, b'{"status":"there is /live, /ready and /metrics"}'
