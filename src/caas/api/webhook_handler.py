"""The Webhook Handler (Internal Payment API Endpoints, Caller; Diagram 4, lower half).

Each payment gateway has a path of its own, which ends with its name. At the path without a name the
signature tells which gateway it is: a provider whose endpoint was made before another one took the
new payments goes on reporting there (decision 199).

A webhook's signature is verified over its raw bytes, card numbers are removed, and the webhook and
its job are stored before the response is sent (decision 31):

| webhook | response |
|---|---|
| invalid signature or timestamp | 401, nothing is stored |
| valid, with a duplicate key in an object | 400, nothing is stored: its meaning is ambiguous |
| new event | 204, after it is durable |
| the same event again | 200, nothing changes |
| same event id with another body, or unreadable body | 200, set aside with a case |

Rules a change must keep: nothing is applied while the sender waits; every validly signed message is
stored; the content is trusted no further than `payment_processing.settlement` allows.
"""

import contextlib
import hashlib
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import msgspec

from caas.api.authentication import Call
from caas.api.bodies import refuse_duplicate_keys
from caas.api.context import Api
from caas.api.operation import Operation
from caas.api.problems import Problem
from caas.billing_database.webhook_inbox import Incoming, Storing, UnstorableWebhookError
from caas.external_systems.gateway_adapters import whole
from caas.external_systems.webhook_signatures import (
    WEBHOOK_BODY_BYTES_MAX,
    Verifier,
    WebhookRefusedError,
)
from caas.order_management.partner_webhooks import (
    APPLY_PARTNER_WEBHOOK,
    FACTORY,
    TRANSPORT,
    read_partner_event,
)
from caas.payment_processing.outgoing_money import APPLY_WEBHOOK
from caas.rules.card_numbers import scrub
from caas.rules.personal_data import (
    PERSONAL_KEYS,
    gives_free_reasons,
    without_free_reasons,
    without_personal_data,
    without_personal_fields,
)
from caas.web.card_refusal import may_hold_one
from caas.web.problems import CallRefusedError
from caas.web.response import Response, json_response

WEBHOOK_TAG: Final = "webhooks"
GATEWAY: Final = "gateway"
SIGNATURE_CHALLENGE: Final = (b"www-authenticate", b"Webhook-Signature")
OTHER_BODY: Final = "a different body with the same event id"
REASON_CHARS_MAX: Final = 200
_ESCAPE: Final = "\\"
_NUL: Final = "\\u0000"
_PERSONAL: Final = re.compile("@|" + "|".join(f'"{key}"' for key in sorted(PERSONAL_KEYS)))


class WebhookReceipt(msgspec.Struct, frozen=True):
    """The result for a webhook that was not new."""

    status: str


class WebhookNotTheirsError(CallRefusedError):
    """The webhook's signature is invalid or missing. Nothing was stored."""

    code = "webhook_not_theirs"
    http_status = 401
    standing_headers = (SIGNATURE_CHALLENGE,)


async def gateway_webhook(api: Api, call: Call) -> Response:
    """Receive an event of the payment gateway that signed it: settlements, refunds, disputes."""
    of_new_payments, *others = list(api.settings.gateways) or [GATEWAY]
    try:
        return await _take(api, call, _gateway(api, of_new_payments))
    except (WebhookNotTheirsError, WebhookRefusedError):
        for name in others:
            with contextlib.suppress(WebhookNotTheirsError, WebhookRefusedError):
                return await _take(api, call, _gateway(api, name))
        raise


async def named_gateway_webhook(api: Api, call: Call) -> Response:
    """Receive an event of the payment gateway of this name."""
    return await _take(api, call, _gateway(api, str(call.ids["gateway"])))


async def factory_webhook(api: Api, call: Call) -> Response:
    """Receive a factory event: `vehicle.ready`."""
    return await _take(api, call, _partner(api, FACTORY))


async def transport_webhook(api: Api, call: Call) -> Response:
    """Receive a transport event: `delivery.completed`."""
    return await _take(api, call, _partner(api, TRANSPORT))


class _Sender(msgspec.Struct, frozen=True, kw_only=True):
    """Who sends webhooks, and how they are verified, read and split."""

    name: str
    verifier: Verifier
    event_id: Callable[[bytes], str | None]
    job_kind: str
    split: Callable[[bytes], tuple[bytes, ...]] = whole
    is_gateway: bool = False


def _gateway(api: Api, name: str) -> _Sender:
    webhooks = api.settings.gateways.get(name)
    if webhooks is None:
        raise WebhookNotTheirsError(_no_secret("gateway"))

    def event_id(body: bytes) -> str | None:
        event = webhooks.read_event(body)
        return event.id if event else None

    return _Sender(
        name=name, verifier=webhooks.verifier, event_id=event_id, job_kind=APPLY_WEBHOOK,
        split=webhooks.split, is_gateway=True,
    )  # fmt: skip


def _partner(api: Api, name: str) -> _Sender:
    verifier = api.verifiers.get(name)
    if verifier is None:
        raise WebhookNotTheirsError(_no_secret(name))
    return _Sender(
        name=name, verifier=verifier, job_kind=APPLY_PARTNER_WEBHOOK,
        event_id=lambda body: read_partner_event(name, body).event_id,
    )  # fmt: skip


def _no_secret(of: str) -> str:
    return f"No webhook secret of the {of} is configured here."


async def _take(api: Api, call: Call, sender: _Sender) -> Response:
    message_id = _verified(api, call, sender.verifier)
    _refuse_two_meanings(call.body)
    answers = [await _store(api, one, sender, message_id) for one in _events(call, sender)]
    fresh = [answer for answer in answers if answer.status == HTTPStatus.NO_CONTENT]
    return fresh[0] if fresh else answers[0]


def _events(call: Call, sender: _Sender) -> tuple[bytes, ...]:
    """Return the events in a webhook; one that cannot be split is a single unreadable one."""
    try:
        return sender.split(call.body) or (call.body,)
    except (ValueError, RecursionError):
        return (call.body,)


async def _store(api: Api, body: bytes, sender: _Sender, message_id: str) -> Response:
    incoming, unreadable = _incoming(body, sender, message_id)
    if unreadable is not None:
        await api.platform.tables.webhooks.quarantine(incoming, reason=unreadable)
        return json_response(200, WebhookReceipt("set aside"))
    try:
        stored = await api.platform.tables.webhooks.store(incoming)
    except UnstorableWebhookError as error:
        await api.platform.tables.webhooks.quarantine(incoming, reason=error.sentence)
        return json_response(200, WebhookReceipt("set aside"))
    if stored.storing is Storing.FRESH:
        api.settings.on_webhook()
        return Response(204)
    if stored.storing is Storing.CONTRADICTION:
        await api.platform.tables.webhooks.quarantine(
            incoming, reason=OTHER_BODY, contradicts=stored.id
        )
        return json_response(200, WebhookReceipt("set aside"))
    return json_response(200, WebhookReceipt("known"))


def _verified(api: Api, call: Call, verifier: Verifier) -> str:
    """Verify the signature over the raw bytes and return the message id.

    Raises:
        WebhookNotTheirsError: it is invalid.
        WebhookRefusedError: the headers are incomplete.
    """
    headers = {
        name: call.headers.get(name.encode(), b"").decode("latin-1")
        for name in verifier.signed_headers
    }
    try:
        return verifier.verify(call.body, headers, now=api.settings.now()).id
    except WebhookRefusedError as refusal:
        if refusal.http_status == WebhookNotTheirsError.http_status:
            raise WebhookNotTheirsError(refusal.sentence) from refusal
        raise


def _refuse_two_meanings(body: bytes) -> None:
    """Reject a body with a duplicate key; an unreadable body is set aside later.

    Raises:
        DuplicateKeyError: there is one.
    """
    with contextlib.suppress(ValueError, RecursionError):
        refuse_duplicate_keys(body)


def _incoming(received: bytes, sender: _Sender, message_id: str) -> tuple[Incoming, str | None]:
    """Return the record to store, and why it must be set aside, if it must.

    Events are deduplicated by the id in the body, whatever message delivers them. The message id is
    used only for bodies without an event id.
    """
    body, event_id, unreadable = _readable(received, sender)
    incoming = Incoming(
        gateway=sender.name,
        event_id=event_id or message_id,
        body_hash=hashlib.sha256(received).digest(),
        body=body,
        job_kind=sender.job_kind,
    )
    return incoming, unreadable


def _readable(body: bytes, sender: _Sender) -> tuple[str, str | None, str | None]:
    """Return the body without card and personal data, its event id, and why it is unreadable."""
    text = body.decode("utf-8", "replace")
    if b"\0" in body or may_hold_one(body):
        text = scrub(text.replace("\0", ""))
    try:
        event_id = sender.event_id(body)
        if _ESCAPE in text or _PERSONAL.search(text):
            text = _storable(without_personal_data(msgspec.json.decode(body)))
        if sender.is_gateway and gives_free_reasons(text):
            text = _storable(without_free_reasons(msgspec.json.decode(text)))
    except (ValueError, RecursionError) as error:
        return (
            _unreadable(text),
            None,
            f"it is unreadable ({scrub(str(error))[:REASON_CHARS_MAX]})",
        )
    return text, event_id, None


def _unreadable(text: str) -> str:
    """Return an unreadable body without personal data, because it is stored permanently."""
    with contextlib.suppress(ValueError, RecursionError):
        return _storable(without_personal_data(msgspec.json.decode(text)))
    return without_personal_fields(text)


def _storable(reported: object) -> str:
    """Return JSON that PostgreSQL can store: unescaped, without NUL characters."""
    return scrub(msgspec.json.encode(reported).decode().replace(_NUL, ""))


_TAKEN: Final = {200: WebhookReceipt, 204: None, 400: Problem, 401: Problem}

WEBHOOK_OPERATIONS: Final = (
    Operation(
        id="gatewayWebhook", tag=WEBHOOK_TAG, method="POST", path="/webhooks/gateway",
        needs_key=False, body_bytes_max=WEBHOOK_BODY_BYTES_MAX, answers=_TAKEN,
        handle=gateway_webhook,
    ),
    Operation(
        id="namedGatewayWebhook", tag=WEBHOOK_TAG, method="POST",
        path="/webhooks/gateway/{gateway:str}", needs_key=False,
        body_bytes_max=WEBHOOK_BODY_BYTES_MAX, answers=_TAKEN, handle=named_gateway_webhook,
    ),
    Operation(
        id="factoryWebhook", tag=WEBHOOK_TAG, method="POST", path="/webhooks/factory",
        needs_key=False, body_bytes_max=WEBHOOK_BODY_BYTES_MAX, answers=_TAKEN,
        handle=factory_webhook,
    ),
    Operation(
        id="transportWebhook", tag=WEBHOOK_TAG, method="POST", path="/webhooks/transport",
        needs_key=False, body_bytes_max=WEBHOOK_BODY_BYTES_MAX, answers=_TAKEN,
        handle=transport_webhook,
    ),
)  # fmt: skip
