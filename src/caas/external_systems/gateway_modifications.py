"""Captures and voids that a gateway accepts at once and decides later (decision 198).

Many providers answer a capture or a void with "received" and report its outcome by webhook.

Rules a change must keep: accepted is not done: only a report or a lookup shows the outcome; a
refusal that is reported later means what the same refusal means as an answer.
"""

from enum import StrEnum

import msgspec


class Modification(StrEnum):
    """What a gateway may accept first; the values are the platform's names of the operations."""

    CAPTURE = "capture"
    VOID = "void"


class AcceptedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway has taken the request up, under an id of its own; its outcome is reported."""

    id: str


class GatewayRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """The report that an accepted request was refused, and nothing was done; `refusal` says why.

    `id` is that of `AcceptedRequest`. The codes `already_voided`, `already_captured`,
    `authorization_expired` and `already_failed` are those of an immediate refusal.
    """

    id: str
    operation: Modification
    transaction_id: str
    reference: str
    refusal: str
