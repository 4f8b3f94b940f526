"""Values of a gateway that its adapter does not know, counted by gateway and field.

A gateway adds event types, statuses and codes without a new version of its API. A value that the
adapter does not know changes nothing; it is counted and logged, so that somebody looks it up.

Rules a change must keep: the value is logged and is never a label of a metric; a field whose values
are known shows 0, so that the first unknown one is an increase.
"""

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import structlog

from caas.rules.card_numbers import scrub

VALUE_CHARS_MAX: Final = 60

_log = structlog.get_logger()
_counts: Final[Counter[tuple[str, str]]] = Counter()


class GatewayField(StrEnum):
    """The fields whose values an adapter must know."""

    EVENT_TYPE = "event_type"
    PAYMENT_STATUS = "payment_status"
    PAGE_STATUS = "page_status"
    REFUND_STATUS = "refund_status"
    DISPUTE_STATUS = "dispute_status"
    DECLINE_CODE = "decline_code"
    REFUSAL_REASON = "refusal_reason"


def show_fields(gateway: str) -> None:
    """Show every field of a gateway, with 0 where nothing was counted."""
    for field in GatewayField:
        _counts[gateway, field] += 0


def count_unknown(gateway: str, field: GatewayField, value: str) -> None:
    """Count a value that the adapter does not know, and log it."""
    _counts[gateway, field] += 1
    shown = scrub(value)[:VALUE_CHARS_MAX]
    _log.warning("gateway.unknown_value", gateway=gateway, field=field.value, value=shown)


def unknown_values() -> Mapping[tuple[str, str], int]:
    """Return how often this process has read an unknown value, by gateway and field."""
    return dict(_counts)
