"""Adds a car that leaves the simulated factory to the simulated fleet.

The fleet creates the car's key; the factory sends its public key with `vehicle.ready`, as the order
partners' interface requires.

Rules a change must keep: an unavailable fleet does not delay a vehicle; it is reported on standard
error.
"""

import sys

import msgspec

from caas_simulators.http_client import HttpClient, NoAnswerError

FLEET_SECONDS_MAX = 5.0


class NewCar(msgspec.Struct):
    """The fleet's response about an added car."""

    public_key: str


async def key_from_fleet(fleet_url: str | None, vin: str) -> str | None:
    """Add a new car to the fleet; return its public key, if there is a fleet."""
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
