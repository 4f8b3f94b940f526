"""Runs a form action once and shows refusals on the page of the form.

What was typed stays in its fields: the page is shown again, filled in.

Rules a change must keep: what a room refuses changed nothing and is told in the reader's language;
where the browser goes afterwards is a path of ours and never one that came in with the form.

Idempotent form submissions: double click, reload, two tabs, back button.

Every form that changes something carries a key of its own. The first time it is done; every other
time the browser is sent where the first one was, also while the first is still under way.

Rules a change must keep: a key belongs to the person who got the form; a wait for the first has a
limit.

Confirmation pages before actions that cannot be undone.

A page that offers such an act leads here by a link, or sends its form here first; the form that
does it stands here alone, at the address the page itself has, with what was filled in before.

Rules a change must keep: nothing is done by opening it; it says what follows and what does not come
back; the way back is as near as the act.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.idempotency import InFlightError, KeyReusedError, StoredAnswer
from caas.billing_database.identifiers import new_id
from caas.billing_database.payments import Payment
from caas.console.context import Console
from caas.console.request import PageRequest
from caas.errors import RefusedError
from caas.payment_processing import PaymentRequest
from caas.rules.money import Money
from caas.web import idempotency
from caas.web.forms import MalformedFormError
from caas.web.idempotency import Initiate, KeyedRequest
from caas.web.response import Response, refused, see_other

KEY: Final = "key"
FIRST_SECONDS_MAX: Final = 20.0
_KEY: Final = re.compile(r"[0-9a-f-]{36}")
_NOT_COMPARED: Final = frozenset({KEY, "form_token"})


def new_key() -> str:
    """Return the key of a form that is about to be shown."""
    return str(new_id())


def keyed(request: PageRequest) -> KeyedRequest:
    """Return what a form asks for, under the key it carries.

    Raises:
        MalformedFormError: it has none.
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
    """Do what a form says, unless it was done; `work` returns the path to go on at.

    Raises:
        KeyReusedError: the form was sent before with other content.
        InFlightError: the first is still running after `FIRST_SECONDS_MAX`.
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
    """Ask for the payment that a form wants; a form that was cut off and comes again has it.

    `ordered` writes down what is paid for, and is left out when the payment is there already.
    """
    return await idempotency.checkout(console.platform.tables, keyed(request), initiate, ordered)


def asked_for(
    console: Console, request: PageRequest, subject: UUID, *, customer: UUID, due: Money
) -> PaymentRequest:
    """Return the payment a form asks for on the gateway's own page, from which people return."""
    return PaymentRequest(
        subject=subject,
        customer=customer,
        amount=due.amount,
        currency=due.currency,
        return_url=f"{console.settings.public_url}/returned/{subject}",
        caller_key=keyed(request).payment_key,
    )


def _replayed(stored: StoredAnswer) -> Response:
    return see_other(stored.body.decode())


async def acted(
    console: Console, request: PageRequest, path: str, act: Callable[[], Awaitable[object]]
) -> Response:
    """Do what a form says, and go back to `path`; a refused form is shown there as it was sent."""

    async def work() -> str:
        await act()
        return f"{path}?done=1"

    try:
        return await once(console, request, work)
    except (KeyReusedError, InFlightError):
        raise
    except RefusedError as refusal:
        return refused(path, refusal.code)


@dataclass(frozen=True, slots=True)
class After:
    """What became of the form before this page: done, or the code of a refusal with words."""

    done: bool
    refused: str


def form_result(console: Console, request: PageRequest) -> After:
    """Return what a page says about the form before it."""
    t = console.renderer.translator(request.language)
    code = request.query.get("refused", "")
    known = code if t.knows(f"error.{code}.title") else "refused" if code else ""
    return After("done" in request.query, known)


SECTIONS: Final = {
    "activate": "/operations/system",
    "agree": "/operations/cases",
    "bulk": "/operations/reconciliation",
    "credit_note": "/operations/payments",
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
"""What is asked about, and under which part of the navigation."""

CONFIRMED: Final = "confirmed"


def seen(amount: int) -> dict[str, str]:
    """Return the field that says which amount, in minor units, the page that asks has shown."""
    return {CONFIRMED: str(amount)}


def has_seen(request: PageRequest, amount: int) -> bool:
    """Say whether this very amount was shown back before."""
    return request.form.get(CONFIRMED) == str(amount)


def is_confirmed(request: PageRequest) -> bool:
    """Say whether the form that was sent is the one of the page that asks."""
    return CONFIRMED in request.form


def is_to_ask(request: PageRequest, proposed_account: UUID | None) -> bool:
    """Return whether to ask a second person: once, and only one who may decide."""
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
    """Ask whether `what` shall be done to what has this name; `back` is where we come from.

    `fields` were filled in before, and are sent again with the answer.
    """
    return console.page(
        request, "confirmation.html", what=what, section=SECTIONS[what], name=name, back_to=back,
        key=new_key(), fields={CONFIRMED: "yes", **(fields or {})},
    )  # fmt: skip
