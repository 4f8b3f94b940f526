"""Accounts and access control of the local MQTT broker (IoT Gateway, decision 105).

Only the platform publishes requests; a vehicle reads its own requests and publishes its own
responses. The simulated vehicles share one gateway account that reads all requests and publishes
all responses.

Rules a change must keep: no anonymous access; files are readable by their owner only; a vehicle's
account name is its VIN, which the %u of the pattern stands for.
"""

import base64
import hashlib
import os
import re
import secrets
from pathlib import Path
from typing import Final

import msgspec

from caas.errors import RefusedError

PLATFORM: Final = "caas"
FLEET: Final = "caas-fleet"
PASSWORD_ROUNDS: Final = 101  # mosquitto's own number; the password itself is 128 random bits.
ACCESS: Final = f"""\
user {PLATFORM}
topic readwrite caas/v1/vehicles/+/commands/+/request
topic read caas/v1/vehicles/+/commands/+/response

user {FLEET}
topic read caas/v1/vehicles/+/commands/+/request
topic write caas/v1/vehicles/+/commands/+/response

pattern read caas/v1/vehicles/%u/commands/+/request
pattern write caas/v1/vehicles/%u/commands/+/response
"""
_VIN: Final = re.compile(r"[A-Z0-9-]{3,32}")


class NoVehicleNameError(RefusedError):
    """The name is not a VIN, so no broker account can be created for it."""

    code = "no_vehicle_name"


def password_of(folder: Path, account: str) -> str:
    """Return an account's password; create the account if it is new.

    Passwords survive a restart, so that clients can reconnect.
    """
    kept = _kept(folder)
    if account not in kept:
        kept[account] = secrets.token_urlsafe(16)
        write_privately(folder / "accounts.json", msgspec.json.encode(kept))
    return kept[account]


def password_of_vehicle(folder: Path, vin: str) -> str:
    """Return the password of a vehicle's account; create the account if it is new.

    Raises:
        NoVehicleNameError: the name is not a VIN.
    """
    if _VIN.fullmatch(vin) is None:
        raise NoVehicleNameError("A VIN is 3 to 32 capital letters, digits and -.")
    return password_of(folder, vin)


def write_for_mosquitto(folder: Path) -> None:
    """Write the password hashes and the access control list in mosquitto's format."""
    hashed = "".join(f"{name}:{_hashed(password)}\n" for name, password in _kept(folder).items())
    write_privately(folder / "passwords", hashed.encode())
    write_privately(folder / "access", ACCESS.encode())


def write_privately(path: Path, content: bytes) -> None:
    """Write a file readable by its owner only."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _kept(folder: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode((folder / "accounts.json").read_bytes(), type=dict[str, str])
    except (FileNotFoundError, msgspec.DecodeError):
        return {}


def _hashed(password: str) -> str:
    salt = secrets.token_bytes(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, PASSWORD_ROUNDS, 64)
    salt_text, digest_text = (base64.b64encode(part).decode() for part in (salt, digest))
    return f"$7${PASSWORD_ROUNDS}${salt_text}${digest_text}"
