"""Parses the API keys in the setting CAAS_API_KEYS.

CAAS_API_KEYS = name:scope+scope:key, name:scope:key, ...

- name: letters, digits, ".", "_", "-"; identifies the caller in logs and idempotency keys. Two keys
  may share a name, so that a key can be rotated without downtime.
- scope: one of `caas.rules.scopes`; `any` allows every call. `customer=<id>` or `dealership=<name>`
  restricts the key to the objects of that customer or dealership; it cannot be combined with the
  scope fleet.
- key: 32 characters or more.

Rules a change must keep: a key never appears in a repr or an error; the settings import this
module, so it imports nothing of the API.
"""

import re
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from caas.errors import StartupError
from caas.rules.scopes import Scope

KEY_CHARS_MIN: Final = 32
KEY_CHARS_MAX: Final = 256
_KEY: Final = re.compile(f"[!-~]{{{KEY_CHARS_MIN},{KEY_CHARS_MAX}}}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, repr=False)
class ConfiguredKey:
    """A key as configured."""

    name: str
    key: str
    scopes: frozenset[str]
    customer: UUID | None = None
    dealership: str | None = None


def parse_api_keys(text: str) -> tuple[ConfiguredKey, ...]:
    """Parse CAAS_API_KEYS.

    Raises:
        StartupError: an entry is not `name:scope+scope:key`; the sentence says which entry, without
            its key.
    """
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    return tuple(_configured(number, entry) for number, entry in enumerate(entries, start=1))


def _configured(number: int, entry: str) -> ConfiguredKey:
    name, _, rest = entry.partition(":")
    scopes_text, _, key = rest.partition(":")
    if not _NAME.fullmatch(name) or not key:
        raise StartupError(f"CAAS_API_KEYS, entry {number}: it must be name:scope+scope:key.")
    if _KEY.fullmatch(key) is None:
        raise StartupError(
            f"CAAS_API_KEYS, entry {number} ({name}): the key must be {KEY_CHARS_MIN} to "
            f"{KEY_CHARS_MAX} visible ASCII characters."
        )
    parts = [part for part in scopes_text.split("+") if part]
    scopes = frozenset(part for part in parts if "=" not in part)
    narrowed = dict(part.split("=", 1) for part in parts if "=" in part)
    return _checked(number, ConfiguredKey(name, key, scopes), narrowed)


def _checked(number: int, key: ConfiguredKey, narrowed: dict[str, str]) -> ConfiguredKey:
    where = f"CAAS_API_KEYS, entry {number} ({key.name})"
    unknown = sorted(key.scopes - frozenset(Scope))
    if unknown or not key.scopes:
        raise StartupError(
            f"{where}: {', '.join(unknown) or 'no scope'} is not a scope. Valid scopes are "
            f"{', '.join(Scope)}."
        )
    if not narrowed.keys() <= {"customer", "dealership"}:
        raise StartupError(f"{where}: restrict a key with customer=<id> or dealership=<name>.")
    try:
        customer = UUID(narrowed["customer"]) if "customer" in narrowed else None
    except ValueError as error:
        raise StartupError(f"{where}: customer= requires a customer id.") from error
    if narrowed and Scope.FLEET in key.scopes:
        raise StartupError(f"{where}: the scope fleet cannot be combined with a restriction.")
    return ConfiguredKey(key.name, key.key, key.scopes, customer, narrowed.get("dealership"))
