"""Cars that the database knows, and what they sign, for tests below the OTA engine."""

import base64
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from caas.billing_database.connection import Connection
from caas.external_systems.in_process_vehicle_link import InProcessVehicleLink
from caas.external_systems.vehicle_command_keys import VehicleCommandKeys
from caas.rules.vehicle_signatures import SignedMessage

KEY: Final = Ed25519PrivateKey.from_private_bytes(b"every car of these tests has it.")
PUBLIC_KEY: Final = KEY.public_key().public_bytes_raw()
COMMAND_KEY: Final = base64.b64encode(b"the platform of these tests 0001").decode()
COMMAND_KEYS: Final = VehicleCommandKeys.read(COMMAND_KEY)
KNOWN_TO_VEHICLES: Final = COMMAND_KEYS.known_to_vehicles


async def put(connection: Connection, *vins: str) -> None:
    """Have these vehicles in stock, each with the one key."""
    await connection.execute(
        "insert into caas.vehicle_models (model, price, currency, updated_at)"
        " values ('Uno', 3000000, 'EUR', now()) on conflict do nothing"
    )
    await connection.execute(
        "insert into caas.vehicles (vin, model, price, currency, public_key, in_stock_since,"
        " created_at, updated_at) select v, 'Uno', 3000000, 'EUR', $2, now(), now(), now()"
        " from unnest($1::text[]) v on conflict do nothing",
        list(vins), PUBLIC_KEY,
    )  # fmt: skip


def signature(word: SignedMessage) -> bytes:
    """Sign as the car would."""
    return KEY.sign(word.text.encode())


def signature_text(word: SignedMessage) -> str:
    """Sign as the car would, and write it as it goes over the wire."""
    return base64.b64encode(signature(word)).decode()


def is_answered(link: InProcessVehicleLink) -> bool:
    """Say whether every answer that came from the cars of this process has been handled."""
    return link._inbox is None or not link._inbox._handling
