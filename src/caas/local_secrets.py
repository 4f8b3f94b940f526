"""The secrets of a data folder: an API key per scope, and those of the simulators.

Rule a change must keep: created once, written atomically, readable only by their owner.
"""

import base64
import json
import os
import secrets
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import asdict, replace

from caas.errors import StartupError
from caas.external_systems.vehicle_command_keys import PRIVATE_KEY_BYTES
from caas.rules.scopes import Scope

SCOPES: Final = tuple(scope.value for scope in Scope if scope is not Scope.ANY)
WEBHOOK_SECRET_BYTES: Final = 24
FILE: Final = "secrets.json"


MADE_LATER: Final = ("vehicle_command_key", "head_key", "sign_in_key", "partner_token")
"""Secrets that folders of older versions lack."""


class Secrets(msgspec.Struct, frozen=True):
    """The stored secrets."""

    gateway_api_key: str
    gateway_webhook_secret: str
    partner_webhook_secret: str
    api_keys: dict[str, str]
    vehicle_command_key: str = ""
    head_key: str = ""
    sign_in_key: str = ""
    partner_token: str = ""


def kept(folder: Path) -> Secrets:
    """Return the folder's secrets, creating missing ones.

    Raises:
        StartupError: the file cannot be read.
    """
    path = folder / FILE
    found = (
        _read(path)
        if path.exists()
        else Secrets(
            gateway_api_key=f"sk_{secrets.token_urlsafe(24)}",
            gateway_webhook_secret=_webhook_secret(),
            partner_webhook_secret=_webhook_secret(),
            api_keys={},
        )
    )
    missing = [scope for scope in SCOPES if scope not in found.api_keys]
    if missing or not all(getattr(found, name) for name in MADE_LATER):
        found.api_keys.update({scope: f"caas_{secrets.token_urlsafe(32)}" for scope in missing})
        found = replace(
            found,
            vehicle_command_key=found.vehicle_command_key or _private_key(),
            head_key=found.head_key or _private_key(),
            sign_in_key=found.sign_in_key or _private_key(),
            partner_token=found.partner_token or f"pt_{secrets.token_urlsafe(24)}",
        )
        _keep(path, found)
    return found


def head_key(folder: Path) -> str:
    """Return the folder's head-signing key, or an empty string; create nothing."""
    path = folder / FILE
    return _read(path).head_key if path.exists() else ""


def _read(path: Path) -> Secrets:
    try:
        return Secrets(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise StartupError(
            f"Cannot read the secrets in {path}. Restore the file, or remove it to "
            "create new secrets; callers then need the new keys."
        ) from error


def _keep(path: Path, made: Secrets) -> None:
    """Write the secrets atomically, readable only by their owner."""
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(made), file)
    fresh.replace(path)


def _private_key() -> str:
    return base64.b64encode(secrets.token_bytes(PRIVATE_KEY_BYTES)).decode()


def _webhook_secret() -> str:
    return f"whsec_{base64.b64encode(secrets.token_bytes(WEBHOOK_SECRET_BYTES)).decode()}"
