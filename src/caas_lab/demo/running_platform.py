"""Connects to a running platform: `caas demo --against URL`.

It uses the public API with the keys of its data folder or of CAAS_API_KEYS. `caas up` records the
addresses of its simulators; without them only scenarios that need none are run.

Rule a change must keep: nothing is started or stopped here.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp

from caas import local_machine, local_secrets
from caas.api.authentication import parse_api_keys
from caas.errors import StartupError
from caas.external_systems.gateway_adapters import CONTRACT
from caas.local_machine import LocalWorld
from caas.settings import data_dir, time_scale
from caas_lab.demo import database
from caas_lab.demo.control_planes import GatewayControl, PartnerControl, VehicleControl
from caas_lab.demo.http_client import HttpClient, UnexpectedAnswerError, require_success
from caas_lab.demo.scenario import Need
from caas_lab.demo.testbed import Testbed

FAST_ENOUGH: Final = 20.0
SECONDS_TO_ANSWER_MAX: Final = 20.0
SIMULATORS: Final = frozenset({"gateway", "partners", "vehicles"})


@asynccontextmanager
async def connected(url: str, environment: Mapping[str, str]) -> AsyncIterator[Testbed]:
    """Connect to a running platform, and to its simulators where possible.

    Raises:
        StartupError: there is no response, a key is missing, or the gateway is another one.
    """
    world = local_machine.running_world(environment)
    world = local_machine.running_world(environment)
    if world is not None and world.environment.get("CAAS_PUBLIC_URL") != url.rstrip("/"):
        world = None
    if world is not None and world.environment.get("CAAS_GATEWAY", CONTRACT) != CONTRACT:
        raise StartupError(
            f"The demonstration needs the simulated contract gateway; {url} uses "
            f"{world.environment['CAAS_GATEWAY']}. Start one with `caas up`, or run `caas demo`."
        )
    await _listens(url)
    keys = _keys(environment) or (world.keys if world is not None else {})
    if not set(local_secrets.SCOPES) <= keys.keys():
        raise StartupError(
            f"The demonstration needs a key for each scope of {url}. Set "
            "CAAS_API_KEYS, or CAAS_DATA_DIR to the folder that `caas up` uses."
        )
    async with aiohttp.ClientSession() as session:
        client = HttpClient(session, url, keys)
        await _answers(client)
        testbed = _testbed(client, session, world, data_dir(environment))
        if world is not None and world.environment.get("CAAS_DATABASE_URL"):
            async with database.opened(world.environment["CAAS_DATABASE_URL"]) as testbed.records:
                yield testbed
        else:
            yield testbed


def _testbed(
    client: HttpClient, session: aiohttp.ClientSession, world: LocalWorld | None, folder: Path
) -> Testbed:
    """Return a testbed with the simulators that can be controlled."""
    controls = world.controls if world is not None else {}
    scale = time_scale(world.environment) if world is not None else 1.0

    def control(name: str) -> HttpClient:
        return HttpClient(session, controls.get(name, client.url), {})

    return Testbed(
        platform=client,
        gateway=GatewayControl(control("gateway")),
        partners=PartnerControl(control("partners")),
        vehicles=VehicleControl(control("vehicles")),
        scale=scale,
        session=session,
        provides=frozenset(
            ({Need.CONTROL_PLANES} if controls.keys() >= SIMULATORS else set())
            | ({Need.FAST_TIME} if scale >= FAST_ENOUGH else set())
        ),
        outbox=folder / "outbox" if world is not None else None,
    )


def _keys(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the configured keys by scope."""
    configured = parse_api_keys(environment.get("CAAS_API_KEYS", ""))
    found = {scope: key.key for key in configured for scope in key.scopes}
    anything = found.get("any")
    return found if anything is None else dict.fromkeys(local_secrets.SCOPES, anything) | found


async def _listens(url: str) -> None:
    """Check that a server is listening before checking keys."""
    timeout = aiohttp.ClientTimeout(total=SECONDS_TO_ANSWER_MAX)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"{url}/health"):
            pass
    except (aiohttp.ClientConnectionError, TimeoutError) as error:
        raise StartupError(
            f"No response from {url}. Start a platform there with `caas up`, or use "
            "another address."
        ) from error
    except aiohttp.ClientError as error:
        raise StartupError(f"No platform is ready at {url}: {error}.") from error


async def _answers(client: HttpClient) -> None:
    try:
        require_success(await client.get("/ready"), "ready")
    except (aiohttp.ClientError, UnexpectedAnswerError) as error:
        raise StartupError(f"No platform is ready at {client.url}: {error}.") from error
