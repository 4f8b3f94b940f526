"""Form actions: executed once, with errors on the form's page and confirmation pages.

A rejected form is shown again with its input. Every form that changes something carries a key, so
that a double click, a reload, a second tab or the back button executes it once: the first
submission runs, every other one is redirected to the result of the first, even while that is still
in progress.

A page links, or first submits its form, to a confirmation page for an action that cannot be undone.
The confirming form is alone there, at the page's own address, with the earlier input.

Rules a change must keep: a rejected action changes nothing and is reported in the reader's
language; the redirect goes to a path of ours, never to one from the form; a key belongs to the
person who received the form; the wait for the first submission has a limit; opening a confirmation
page changes nothing; it states the consequences and what cannot be undone; the link back is as near
as the action.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.idempotency import InFlightError, KeyReusedError, StoredAnswer
from caas.billing_database.identifiers import new_id
from caas.billing_database.payments import Payment
from caas.console.context import Console
from caas.console.request import PageRequest
from caas.dual_control import AlreadyApprovedError, AlreadyRejectedError
from caas.errors import RefusedError
from caas.payment_processing import PaymentRequest
from caas.rules.agreed_price import AgreedPrice, PriceChangedError
from caas.rules.money import Money
from caas.web import idempotency
from caas.web.forms import MalformedFormError
from caas.web.idempotency import Initiate, KeyedRequest
from caas.web.response import Response, refused, see_other

KEY: Final = "key"
SHOWN: Final = "shown"
"""The field with the price that the form shows (decision 251)."""

FIRST_SECONDS_MAX: Final = 20.0
_KEY: Final = re.compile(r"[0-9a-f-]{36}")
_NOT_COMPARED: Final = frozenset({KEY, "form_token"})


def new_key() -> str:
    """Return a key for a new form."""
    return str(new_id())


def keyed(request: PageRequest) -> KeyedRequest:
    """Return the content of a form under its key.

    Raises:
        MalformedFormError: it has no key.
    """
    key = request.form.get(KEY, "")
    if _KEY.fullmatch(key) is None:
        raise MalformedFormError
    caller = f"console:{request.by.account if request.session else request.form_token}"
    fields = {name: value for name, value in request.form.items() if name not in _NOT_COMPARED}
    content = msgspec.json.encode([request.path, sorted(fields.items())])
    return KeyedRequest(caller, key, hashlib.sha256(content).digest())


async def once(
    console: Console, request: PageRequest, work: Callable[[], Awaitable[str]]
) -> Response:
    """Execute a form's action once per key; `work` returns the path to redirect to.

    Raises:
        KeyReusedError: the key was submitted before with other content.
        InFlightError: the first submission is still running after `FIRST_SECONDS_MAX`.
    """

    async def respond() -> Response:
        return see_other(await work())

    return await idempotency.once(
        console.platform.tables.keys,
        keyed(request),
        respond,
        replayed=_replayed,
        kept=lambda response: dict(response.headers)[b"location"],
        wait_seconds=FIRST_SECONDS_MAX,
    )


async def initiated(
    console: Console,
    request: PageRequest,
    initiate: Initiate,
    ordered: Callable[[], Awaitable[PaymentRequest]],
) -> Payment:
    """Request the payment of a form; a repeated submission gets the payment of the first.

    `ordered` stores the order; it is not called if the payment exists already.
    """
    return await idempotency.checkout(console.platform.tables, keyed(request), initiate, ordered)


def asked_for(
    console: Console, request: PageRequest, subject: UUID, *, customer: UUID, due: Money
) -> PaymentRequest:
    """Return the request for a payment on the gateway's hosted page, with its return address."""
    return PaymentRequest(
        subject=subject,
        customer=customer,
        amount=due.amount,
        currency=due.currency,
        return_url=f"{console.settings.public_url}/returned/{subject}",
        caller_key=keyed(request).payment_key,
    )


def shown_price(request: PageRequest, field: str = SHOWN) -> AgreedPrice:
    """Return the price that the form showed.

    Raises:
        PriceChangedError: the form does not state one.
    """
    try:
        return msgspec.json.decode(request.form.get(field, "").encode(), type=AgreedPrice)
    except msgspec.DecodeError as error:
        raise PriceChangedError from error


def price_field(price: AgreedPrice) -> str:
    """Return the field in which a form sends back the price that it shows."""
    return msgspec.json.encode(price).decode()


def _replayed(stored: StoredAnswer) -> Response:
    return see_other(stored.body.decode())


async def acted(
    console: Console, request: PageRequest, path: str, act: Callable[[], Awaitable[object]]
) -> Response:
    """Execute a form's action and redirect to `path`, which shows a rejected form again.

    Raises:
        KeyReusedError, InFlightError: as `once` has it.
        AlreadyApprovedError, AlreadyRejectedError: its page says who decided, and when.
    """

    async def work() -> str:
        await act()
        return f"{path}?done=1"

    try:
        return await once(console, request, work)
    except (KeyReusedError, InFlightError, AlreadyApprovedError, AlreadyRejectedError):
        raise
    except RefusedError as refusal:
        return refused(path, refusal.code)


class After(msgspec.Struct, frozen=True):
    """The result of the previous form: done, or the error code of its rejection."""

    done: bool
    refused: str


def form_result(console: Console, request: PageRequest) -> After:
    """Return the result of the previous form, for display."""
    t = console.renderer.translator(request.language)
    code = request.query.get("refused", "")
    known = code if t.knows(f"error.{code}.title") else "refused" if code else ""
    return After("done" in request.query, known)


SECTIONS: Final = {
    "activate": "/operations/system",
    "agree": "/operations/cases",
    "bulk": "/operations/reconciliation",
    "credit_note": "/operations/payments",
    "reissue": "/operations/payments",
    "deposit_keep": "/operations/cases",
    "deposit_refund": "/operations/cases",
    "fee": "/operations/reconciliation",
    "propose_refund": "/operations/payments",
    "refund": "/operations/payments",
    "reset": "/operations/system",
    "resolve": "/operations/reconciliation",
    "revoke": "/operations/system",
    "seal": "/operations/reconciliation",
    "take_back": "/intranet/orders",
}
"""What is confirmed, and the navigation section it belongs to."""

CONFIRMED: Final = "confirmed"


def seen(amount: int) -> dict[str, str]:
    """Return the field with the amount, in minor units, that the confirmation page showed."""
    return {CONFIRMED: str(amount)}


def has_seen(request: PageRequest, amount: int) -> bool:
    """Return whether the confirmation page showed this amount."""
    return request.form.get(CONFIRMED) == str(amount)


def is_confirmed(request: PageRequest) -> bool:
    """Return whether the form was submitted from the confirmation page."""
    return CONFIRMED in request.form


def is_to_ask(request: PageRequest, proposed_account: UUID | None) -> bool:
    """Return whether to show the confirmation page: once, and never to the person who proposed."""
    return not is_confirmed(request) and proposed_account != request.by.account


def asks(
    console: Console,
    request: PageRequest,
    what: str,
    *,
    back: str,
    name: str,
    fields: Mapping[str, str] | None = None,
) -> Response:
    """Return the page that confirms the action `what` on the object `name`; `back` is the way back.

    `fields` were entered before and are submitted again with the confirmation.
    """
    return console.page(
        request, "confirmation.html", what=what, section=SECTIONS[what], name=name, back_to=back,
        key=new_key(), fields={CONFIRMED: "yes", **(fields or {})},
    )  # fmt: skip
