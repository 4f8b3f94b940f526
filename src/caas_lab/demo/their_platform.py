"""A platform that is running already: `caas demo --against URL`.

It is played on over its public API, with the keys of its data folder or of CAAS_API_KEYS. On this
machine `caas up` has left word of where the simulators are; elsewhere their strings cannot be
pulled, and only scenes that need none of them are played.

Rules a change must keep: nothing is started or stopped here; what cannot be steered is not offered.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp

from caas import local_machine, local_secrets
from caas.api.configured_keys import parse_api_keys
from caas.errors import StartupError
from caas.local_machine import LocalWorld
from caas.settings import data_dir, time_scale
from caas_lab.demo import database
from caas_lab.demo.calls import Caller, UnexpectedAnswerError, done
from caas_lab.demo.outside_world import GatewayStrings, PartnerStrings, VehicleStrings
from caas_lab.demo.stage import Stage
from caas_lab.demo.story import Need

FAST_ENOUGH: Final = 20.0
SECONDS_TO_ANSWER_MAX: Final = 20.0
SIMULATORS: Final = frozenset({"gateway", "partners", "vehicles"})


@asynccontextmanager
async def running(url: str, environment: Mapping[str, str]) -> AsyncIterator[Stage]:
    """Play on a platform that is running: as much as its keys and its surroundings allow.

    Raises:
        StartupError: nobody answers there, or not all keys are known.
    """
    world = local_machine.running_world(environment)
    if world is not None and world.environment.get("CAAS_PUBLIC_URL") != url.rstrip("/"):
        world = None
    await _listens(url)
    keys = _keys(environment) or (world.keys if world is not None else {})
    if not set(local_secrets.SCOPES) <= keys.keys():
        raise StartupError(
            f"The demonstration needs a key of each scope of {url}. Set CAAS_API_KEYS, or "
            "CAAS_DATA_DIR to the folder that `caas up` uses."
        )
    async with aiohttp.ClientSession() as session:
        caller = Caller(session, url, keys)
        await _answers(caller)
        stage = _stage(caller, session, world, data_dir(environment))
        if world is not None and world.environment.get("CAAS_DATABASE_URL"):
            async with database.opened(world.environment["CAAS_DATABASE_URL"]) as stage.records:
                yield stage
        else:
            yield stage


def _stage(
    caller: Caller, session: aiohttp.ClientSession, world: LocalWorld | None, folder: Path
) -> Stage:
    """Return a stage with as much of the outside world as can be steered."""
    controls = world.controls if world is not None else {}
    scale = time_scale(world.environment) if world is not None else 1.0

    def strings(name: str) -> Caller:
        return Caller(session, controls.get(name, caller.url), {})

    return Stage(
        platform=caller,
        gateway=GatewayStrings(strings("gateway")),
        partners=PartnerStrings(strings("partners")),
        vehicles=VehicleStrings(strings("vehicles")),
        scale=scale,
        session=session,
        offers=frozenset(
            ({Need.STRINGS} if controls.keys() >= SIMULATORS else set())
            | ({Need.FAST_TIME} if scale >= FAST_ENOUGH else set())
        ),
        outbox=folder / "outbox" if world is not None else None,
    )


def _keys(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the keys that the environment names, by scope."""
    configured = parse_api_keys(environment.get("CAAS_API_KEYS", ""))
    found = {scope: key.key for key in configured for scope in key.scopes}
    anything = found.get("any")
    return found if anything is None else dict.fromkeys(local_secrets.SCOPES, anything) | found


async def _listens(url: str) -> None:
    """Find out first whether anything is there at all: keys help nothing without a platform."""
    timeout = aiohttp.ClientTimeout(total=SECONDS_TO_ANSWER_MAX)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"{url}/health"):
            pass
    except (aiohttp.ClientConnectionError, TimeoutError) as error:
        raise StartupError(
            f"Nothing answers at {url}. Start a platform there with `caas up`, or say where one is."
        ) from error
    except aiohttp.ClientError as error:
        raise StartupError(f"No platform is ready at {url}: {error}.") from error


async def _answers(caller: Caller) -> None:
    try:
        done(await caller.get("/ready"), "ready")
    except (aiohttp.ClientError, UnexpectedAnswerError) as error:
        raise StartupError(f"No platform is ready at {caller.url}: {error}.") from error
