"""Supported interface languages, each with the locale that formats money and dates."""

from collections.abc import Mapping
from typing import Final

LOCALES: Final[Mapping[str, str]] = {"es": "es_ES", "en": "en_GB"}
