"""How one value of the environment is read: whether it is there, and whether it is an address.

Rules a change must keep: every error names the setting and says what would be right; a value that
may hold a password is not repeated.
"""

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from caas.errors import StartupError

_EXAMPLES: Final = {
    "http": "https://host:port",
    "mqtt": "mqtt://user:password@host:1883 or mqtts://host:8883",
    "postgresql": "postgresql://user:password@host:5432/name",
    "sc": "sc://host:15002",
}
HTTP: Final = ("http", "https")


class SettingError(StartupError):
    """A setting is missing or not understood."""

    code = "setting"


class NotSetError(SettingError):
    """A setting without a default is missing."""

    def __init__(self, name: str) -> None:
        """Keep which."""
        super().__init__(not_set([name]))
        self.name = name


def not_set(names: Sequence[str]) -> str:
    """Return what to say of settings that are missing."""
    *others, last = names
    named = f"{', '.join(others)} and {last} are" if others else f"{last} is"
    them = "them" if others else "it"
    return (
        f"{named} not set. Set {them} in the environment or in .env, or use './caas up', which "
        "makes settings of its own."
    )


def needed(environment: Mapping[str, str], name: str) -> str:
    """Return a setting without a default.

    Raises:
        NotSetError: it is missing.
    """
    value = environment.get(name, "").strip()
    if not value:
        raise NotSetError(name)
    return value


def address_in(environment: Mapping[str, str], name: str, schemes: tuple[str, ...]) -> str:
    """Return an address of one of these schemes.

    Raises:
        SettingError: it is missing, or cannot be used.
    """
    value = needed(environment, name)
    if not is_address(value, schemes):
        raise no_address(name, schemes[0])
    return value.rstrip("/")


def is_address(value: str, schemes: tuple[str, ...], *, needs_host: bool = True) -> bool:
    """Say whether something could listen there."""
    try:
        parts = urlsplit(value)
        hosts = [urlsplit(f"//{host}") for host in parts.netloc.rpartition("@")[2].split(",")]
        reachable = all((host.hostname or not needs_host) and host.port != 0 for host in hosts)
    except ValueError:
        return False
    plain = schemes != HTTP or not ("@" in parts.netloc or parts.query or parts.fragment)
    visible = value.isascii() and value.isprintable() and " " not in value
    return parts.scheme in schemes and reachable and plain and visible


def no_address(name: str, scheme: str) -> SettingError:
    """Return what to say of a malformed address, which may hold a password and is not repeated."""
    return SettingError(f"{name} is not an address that can be used; write {_EXAMPLES[scheme]}.")
