"""Stripe's API over HTTP: forms, keys, errors, and a rate that stays below Stripe's limit.

Rules a change must keep: a refusal is believed only in Stripe's own form; an idempotency error
proves nothing about the first request; requests are spread, so that a month end is not refused for
its rate; a list that was not read to its end shows nothing.
"""

import asyncio
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, TypeVar
from urllib.parse import urlencode
from uuid import UUID

import msgspec

from caas.external_systems import stripe_wire
from caas.external_systems.http import HttpClient
from caas.external_systems.http_answers import (
    GatewayFailure,
    HttpAnswer,
    OutcomeUnknownError,
    RefusedByPartnerError,
    UnknownReason,
    checked,
    decoded,
    failure_of,
)
from caas.external_systems.payment_gateway import (
    AlreadyCapturedError,
    AlreadyVoidedError,
    AuthorizationExpiredError,
)
from caas.external_systems.stripe_vocabulary import IntentStatus
from caas.rules.card_numbers import scrub

API_VERSION: Final = "2025-04-30.basil"
HEADERS: Final[Mapping[str, str]] = {
    "Content-Type": "application/x-www-form-urlencoded",
    "Stripe-Version": API_VERSION,
}
REQUESTS_A_SECOND: Final = 20.0
"""Below the 25 of a sandbox; live mode allows 100."""
REFUSALS: Final[Mapping[str, type[RefusedByPartnerError]]] = {
    "charge_already_captured": AlreadyCapturedError,
    "charge_expired_for_capture": AuthorizationExpiredError,
    "capture_charge_authorization_expired": AuthorizationExpiredError,
}
EXPIRED: Final = frozenset({"expired", "automatic"})
"""Why an intent was canceled whose hold ran out; the second before API 2025-03-31."""
DEFINITE: Final = frozenset({400, 401, 402, 403, 404})
LIST_PAGES_MAX: Final = 20
CLOCKS_APART_SECONDS: Final = 86_400
"""How far the clock of a reference may be from Stripe's."""
TIMED_UUID: Final = 7
Fields = list[tuple[str, str]]
Result = TypeVar("Result")
One = TypeVar("One")


class StripeHttp:
    """Sends requests to one Stripe account, spread over time."""

    def __init__(self, http: HttpClient, requests_a_second: float = REQUESTS_A_SECOND) -> None:
        """Speak over a client built with `HEADERS`."""
        self.client = http
        self._gap_seconds = 1.0 / requests_a_second
        self._next_place = 0.0

    async def get(self, target: str, fields: Fields | None = None) -> HttpAnswer:
        """Read something."""
        await self._take_place()
        return await self.client.send("GET", f"{target}?{urlencode(fields)}" if fields else target)

    async def post(
        self, target: str, fields: Fields, *, key: str, prepares: bool = False
    ) -> HttpAnswer:
        """Write something, once under this key; what `prepares` is about no payment."""
        assert key, "a write without a key could be done twice"
        await self._take_place()
        body = urlencode(fields).encode("ascii")
        return await self.client.send("POST", target, body=body, key=key, prepares=prepares)

    async def delete(self, target: str) -> HttpAnswer:
        """Delete something; repeating it has no second effect."""
        await self._take_place()
        return await self.client.send("DELETE", target)

    async def end(self, target: str) -> HttpAnswer:
        """Cancel or expire something, under a new key each time.

        It has no second effect, and a key would give the answer of an earlier try for a day.
        """
        return await self.post(target, [], key=f"end:{secrets.token_urlsafe(24)}")

    async def all_of(
        self, target: str, fields: Fields, decoder: msgspec.json.Decoder[stripe_wire.Page[One]],
        *, pages_max: int = LIST_PAGES_MAX,
    ) -> list[One]:  # fmt: skip
        """Return every object of a list, page by page.

        Raises:
            GatewayFailure: an answer is unusable, or the list does not end.
        """
        found: list[One] = []
        cursor: Fields = []
        for _ in range(pages_max):
            answer = accepted(await self.get(target, [("limit", "100"), *fields, *cursor]))
            page = decoded(answer, decoder)
            found += page.data
            if not page.has_more:
                return found
            if not page.data:
                break
            cursor = [("starting_after", str(getattr(page.data[-1], "id", "")))]
        raise self.unusable(target, f"a list of which only {len(found)} objects were read")

    def unusable(self, target: str, detail: str) -> OutcomeUnknownError:
        """Return that what was read there shows nothing."""
        return OutcomeUnknownError(
            partner=self.client.partner, call=f"GET {target}",
            reason=UnknownReason.MISMATCH, detail=detail,
        )  # fmt: skip

    async def _take_place(self) -> None:
        now = asyncio.get_running_loop().time()
        place = max(now, self._next_place)
        self._next_place = place + self._gap_seconds
        if place > now:
            await asyncio.sleep(place - now)


def made_since(reference: str) -> Fields:
    """Return the bound of a list of what was made for a payment: nothing is older than its id.

    Without it the payments of a large customer would fill more pages than are read. An id that has
    no time in it sets no bound.
    """
    try:
        identifier = UUID(reference)
    except ValueError:
        return []
    if identifier.version != TIMED_UUID:
        return []
    made_at = (identifier.int >> 80) // 1000
    return [("created[gte]", str(made_at - CLOCKS_APART_SECONDS))]


def accepted(answer: HttpAnswer) -> HttpAnswer:
    """Return a successful answer.

    Raises:
        GatewayFailure: it is refused, or shows nothing.
    """
    if answer.status in DEFINITE:
        raise _refusal_of(answer)
    return checked(answer)


def error_of(answer: HttpAnswer) -> stripe_wire.StripeError:
    """Return the error in an answer.

    Raises:
        GatewayFailure: it has none of Stripe's form.
    """
    if answer.content_type != "application/json":
        raise failure_of(answer)
    return decoded(answer, stripe_wire.ERROR_DECODER).error


def agreed(answer: HttpAnswer, result: Result, different: list[str]) -> Result:
    """Return a result that is what was asked for.

    Raises:
        OutcomeUnknownError: it differs.
    """
    if different:
        raise answer.unknown(UnknownReason.MISMATCH, "; ".join(different))
    return result


def other_id(reported: str, asked: str) -> list[str]:
    """Return how an id differs from the one that was asked for."""
    return [] if reported == asked else [f"transaction {reported!r}, not {asked!r}"]


def _refusal_of(answer: HttpAnswer) -> GatewayFailure:
    """Return the refusal in an error's body; one that cannot be read is unknown."""
    try:
        error = error_of(answer)
    except OutcomeUnknownError as unknown:
        return unknown
    if error.type == "idempotency_error":
        return answer.unknown(UnknownReason.STILL_RUNNING, "the key stands for another request")
    refused = REFUSALS.get(error.code or "") or _refusal_of_state(error)
    return refused(
        partner=answer.partner,
        call=answer.call,
        status=HTTPStatus(answer.status),
        refusal=error.code or error.type,
        problem=scrub(error.message),
    )


def _refusal_of_state(error: stripe_wire.StripeError) -> type[RefusedByPartnerError]:
    intent = error.payment_intent
    if error.code != "payment_intent_unexpected_state" or intent is None:
        return RefusedByPartnerError
    if intent.status is IntentStatus.SUCCEEDED:
        return AlreadyCapturedError
    if intent.status is not IntentStatus.CANCELED:
        return RefusedByPartnerError
    expired = intent.cancellation_reason in EXPIRED
    return AuthorizationExpiredError if expired else AlreadyVoidedError
