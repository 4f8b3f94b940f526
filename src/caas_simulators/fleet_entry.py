"""How a car that leaves the simulated factory joins the simulated fleet.

The fleet makes the car's key; the factory passes its public part on with `vehicle.ready`, as the
interface of the order partners says.

Rules: a fleet that is away keeps no vehicle from being ready; it is said so on standard error.
"""

import sys

import aiohttp
import msgspec

FLEET_SECONDS_MAX = 5.0


class NewCar(msgspec.Struct):
    """What the fleet tells of a car it took in."""

    public_key: str


async def key_from_fleet(fleet_url: str | None, vin: str) -> str | None:
    """Let the fleet take in a new car; return the key it signs with, if there is a fleet."""
    if fleet_url is None:
        return None
    timeout = aiohttp.ClientTimeout(total=FLEET_SECONDS_MAX)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(f"{fleet_url}/_control/vehicles", json={"vin": vin}) as answer,
        ):
            car = msgspec.json.decode(await answer.read(), type=NewCar)
    except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as error:
        sys.stderr.write(f"The fleet did not take in {vin}: {error!r}\n")
        return None
    return car.public_key
