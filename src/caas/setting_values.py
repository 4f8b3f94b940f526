"""Reads single values of the environment, and collects the problems of several.

Gateway adapters read their own settings with it.

Rule a change must keep: an error never repeats a value that may contain a password.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar, cast
from urllib.parse import urlsplit

from caas.errors import StartupError

_EXAMPLES: Final = {
    "http": "https://host:port",
    "mqtt": "mqtt://user:password@host:1883 or mqtts://host:8883",
    "postgresql": "postgresql://user:password@host:5432/name",
    "sc": "sc://host:15002",
}
HTTP: Final = ("http", "https")
_Read = TypeVar("_Read")


class SettingError(StartupError):
    """A setting is missing or invalid."""

    code = "setting"

    @property
    def problems(self) -> tuple["SettingError", ...]:
        """The problems that it reports: itself, or several."""
        return (self,)


class NotSetError(SettingError):
    """A required setting is missing."""

    def __init__(self, name: str) -> None:
        """Store the setting's name."""
        super().__init__(not_set([name]))
        self.name = name


class SettingsError(SettingError):
    """Several settings are missing or invalid; the message lists them, missing ones first."""

    def __init__(self, problems: Sequence[SettingError]) -> None:
        """Store the problems."""
        missing = list(dict.fromkeys(it.name for it in problems if isinstance(it, NotSetError)))
        wrong = {it.sentence: None for it in problems if not isinstance(it, NotSetError)}
        super().__init__(" ".join(([not_set(missing)] if missing else []) + list(wrong)))
        self._problems = tuple(problems)

    @property
    def problems(self) -> tuple[SettingError, ...]:
        """The problems, in the order in which the settings were read."""
        return self._problems


class SettingReader:
    """Reads settings and collects every problem."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Read from this environment."""
        self._environment = environment
        self._problems: list[SettingError] = []

    def read(self, how: Callable[[Mapping[str, str]], _Read]) -> _Read:
        """Return a setting; one with a problem is never used, see `raise_problems`."""
        try:
            return how(self._environment)
        except SettingError as error:
            self._problems += error.problems
            return cast("_Read", None)

    def raise_problems(self) -> None:
        """Raise what was collected; call it before a setting is used.

        Raises:
            SettingError: settings are missing or invalid; the message lists all of them.
        """
        if self._problems:
            raise SettingsError(self._problems)


def not_set(names: Sequence[str]) -> str:
    """Return the message for missing settings."""
    *others, last = names
    named = f"{', '.join(others)} and {last} are" if others else f"{last} is"
    them = "them" if others else "it"
    return (
        f"{named} not set. Set {them} in the environment or in .env, or use './caas "
        "up', which creates its own settings."
    )


def needed(environment: Mapping[str, str], name: str) -> str:
    """Return a required setting.

    Raises:
        NotSetError: it is missing.
    """
    value = environment.get(name, "").strip()
    if not value:
        raise NotSetError(name)
    return value


def address_in(environment: Mapping[str, str], name: str, schemes: tuple[str, ...]) -> str:
    """Return an address with one of these schemes.

    Raises:
        SettingError: it is missing or invalid.
    """
    value = needed(environment, name)
    if not is_address(value, schemes):
        raise no_address(name, schemes[0])
    return value.rstrip("/")


def is_address(value: str, schemes: tuple[str, ...], *, needs_host: bool = True) -> bool:
    """Return whether a value is a usable address."""
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
    """Return the message for an invalid address, without repeating it."""
    return SettingError(f"{name} is not a valid address. Use {_EXAMPLES[scheme]}.")
