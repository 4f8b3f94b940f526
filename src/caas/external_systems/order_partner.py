"""Calls and webhooks common to the Factory, Admin Registration and the Transport System.

They are the external systems of Order Management (Diagrams 2 and 3). Decisions 22 and 23 define
what follows from a refusal; F-R3 is the fault of an order placed twice.

Rules a change must keep:

- The key of a write is the order's id and the operation, so a repeated request always has the same
  key.
- A response about another order or vehicle than the requested one is not an answer: the outcome is
  unknown.
- A client never retries: durable retries are jobs.
"""

from datetime import UTC, datetime
from typing import Annotated, Final, TypeVar
from urllib.parse import quote

import msgspec

from caas.external_systems.http import HttpClient
from caas.external_systems.http_answers import (
    NO_LOOKUP,
    OK_OR_CREATED,
    HttpAnswer,
    OutcomeUnknownError,
    RefusedByPartnerError,
    UnknownReason,
    checked,
    decoded,
    excerpt,
    no_lookup,
)

Id = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9][!-~]{0,199}\Z")]
Vin = Annotated[str, msgspec.Meta(pattern=r"\A[A-Z0-9][A-Z0-9-]{2,31}\Z")]
Plate = Annotated[str, msgspec.Meta(pattern=r"\A[^\W_]([^\W_]|[ .·-]){0,18}[^\W_]\Z")]
PublicKey = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9+/]{43}=\Z")]
Utc = Annotated[datetime, msgspec.Meta(tz=True)]

ONLY_OK: Final = frozenset({200})
REFUSALS: Final = frozenset({409, 422})
JSON_TYPES: Final = frozenset({"application/json", "application/problem+json"})
RUNNING: Final = UnknownReason.STILL_RUNNING
UNEXPLAINED: Final = "no code given"
_ENCODER: Final = msgspec.json.Encoder()


class PartnerAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of our request that a partner may repeat in its response."""

    reference: str | None = None
    vin: Vin | None = None


Answer = TypeVar("Answer", bound=PartnerAnswer)


class LookupResult(msgspec.Struct, frozen=True):
    """The response to a lookup by reference, with undecoded records."""

    data: Annotated[list[msgspec.Raw], msgspec.Meta(max_length=100)]


_FOUND_DECODER: Final = msgspec.json.Decoder(LookupResult)


class PartnerEvent(msgspec.Struct, frozen=True):
    """The body of a partner's webhook, with an undecoded subject."""

    id: Id
    type: Annotated[str, msgspec.Meta(max_length=64)]
    occurred_at: Utc
    data: msgspec.Raw


_EVENT_DECODER: Final = msgspec.json.Decoder(PartnerEvent)


async def ask(
    http: HttpClient, target: str, body: dict[str, str], *, key: str, answer: type[Answer]
) -> Answer:
    """Call a partner once, and compare its response with the request.

    Raises:
        RefusedByPartnerError: the partner refuses.
        NotSentError: the partner was not reached.
        OutcomeUnknownError: it may have been done; look it up, or retry with the same key.
    """
    response = await http.send("POST", target, body=_ENCODER.encode(body), key=key)
    done = decoded(_checked(response), msgspec.json.Decoder(answer))
    different = _differences(done, body)
    if different:
        raise response.unknown(UnknownReason.MISMATCH, "; ".join(different))
    return done


async def look_up(
    http: HttpClient, target: str, reference: str, *, answer: type[Answer]
) -> tuple[Answer, ...]:
    """Return a partner's records under our reference; an empty result proves there are none."""
    response = await http.send("GET", f"{target}?reference={quote(reference, safe='')}")
    if response.status in NO_LOOKUP:
        raise no_lookup(response)
    records = decoded(checked(response, expected=ONLY_OK), _FOUND_DECODER).data
    try:
        found = tuple(msgspec.json.decode(record, type=answer) for record in records)
    except msgspec.MsgspecError as error:
        raise response.unknown(UnknownReason.MALFORMED, str(error)) from error
    if any(record.reference != reference for record in found):
        raise response.unknown(UnknownReason.MISMATCH, "a record of another reference")
    return found


def read_event(body: bytes) -> PartnerEvent:
    """Decode a partner's webhook whose signature was verified.

    Raises:
        msgspec.MsgspecError: it does not match the contract; store it, but do not apply it.
    """
    return _EVENT_DECODER.decode(body)


def in_utc(moment: datetime) -> datetime:
    """Convert to UTC."""
    return moment.astimezone(UTC)


def _checked(response: HttpAnswer) -> HttpAnswer:
    """Check the response; 409 and 422 are a refusal even without a code."""
    try:
        return checked(response, expected=OK_OR_CREATED)
    except OutcomeUnknownError as unknown:
        in_json = response.content_type in JSON_TYPES and unknown.reason is not RUNNING
        if response.status not in REFUSALS or not in_json:
            raise
        raise RefusedByPartnerError(
            partner=response.partner,
            call=response.call,
            status=response.status,
            refusal=UNEXPLAINED,
            problem=excerpt(response.body),
        ) from None


def _differences(done: PartnerAnswer, asked: dict[str, str]) -> list[str]:
    response = {"reference": done.reference, "vin": done.vin}
    return [
        f"{name} {value!r}, not {asked[name]!r}"
        for name, value in response.items()
        if value is not None and name in asked and value != asked[name]
    ]
