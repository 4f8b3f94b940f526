"""Secrets that settings hold: API keys and webhook secrets, checked when they are read.

Rule a change must keep: an error never repeats a secret.
"""

from collections.abc import Callable, Mapping
from typing import Any

from caas.errors import StartupError
from caas.external_systems.http import Secret
from caas.setting_values import SettingError, needed


def secret_in(environment: Mapping[str, str], name: str) -> Secret:
    """Return a required secret.

    Raises:
        SettingError: it is missing or invalid.
    """
    return _secret(name, needed(environment, name))


def webhook_secrets_in(
    environment: Mapping[str, str], name: str, verifier: Callable[[tuple[Secret, ...]], Any]
) -> tuple[Secret, ...]:
    """Return the secrets of webhooks, the newest first, as the verifier accepts them.

    Raises:
        SettingError: they are missing or invalid.
    """
    parts = needed(environment, name).split(",")
    secrets = tuple(_secret(name, part.strip()) for part in parts)
    try:
        verifier(secrets)
    except StartupError as error:
        raise SettingError(f"{name} is invalid. {error.sentence}") from error
    return secrets


def _secret(name: str, value: str) -> Secret:
    try:
        return Secret(value)
    except StartupError as error:
        raise SettingError(f"{name} is invalid. {error.sentence}") from error
