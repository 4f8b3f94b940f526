"""How a car that leaves the simulated factory joins the simulated fleet.

The fleet makes the car's key; the factory passes its public part on with `vehicle.ready`, as the
interface of the order partners says.

Rules: a fleet that is away keeps no vehicle from being ready; it is said so on standard error.
"""

import sys

import msgspec

from caas_simulators.http_client import HttpClient, NoAnswerError

FLEET_SECONDS_MAX = 5.0


class NewCar(msgspec.Struct):
    """What the fleet tells of a car it took in."""

    public_key: str


async def key_from_fleet(fleet_url: str | None, vin: str) -> str | None:
    """Let the fleet take in a new car; return the key it signs with, if there is a fleet."""
    if fleet_url is None:
        return None
    client = HttpClient()
    try:
        reply = await client.post(
            f"{fleet_url}/_control/vehicles",
            msgspec.json.encode({"vin": vin}),
            {"content-type": "application/json"},
            seconds_max=FLEET_SECONDS_MAX,
        )
        return msgspec.json.decode(reply.body, type=NewCar).public_key
    except (NoAnswerError, msgspec.DecodeError) as error:
        sys.stderr.write(f"The fleet did not take in {vin}: {error!r}\n")
        return None
    finally:
        client.close()
