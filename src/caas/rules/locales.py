"""The languages that people read here, each with the locale that writes its money and dates."""

from collections.abc import Mapping
from typing import Final

LOCALES: Final[Mapping[str, str]] = {"es": "es_ES", "en": "en_GB"}
