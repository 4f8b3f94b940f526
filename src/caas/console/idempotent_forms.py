"""Idempotent form submissions: double click, reload, two tabs, back button.

Every form that changes something carries a key of its own. The first time it is done; every other
time the browser is sent where the first one was, also while the first is still under way.

Rules a change must keep: a key belongs to the person who got the form; a wait for the first has a
limit.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.idempotency import StoredAnswer
from caas.billing_database.identifiers import new_id
from caas.billing_database.payments import Payment
from caas.console.context import Console
from caas.console.request import PageRequest
from caas.payment_processing import PaymentRequest
from caas.rules.money import Money
from caas.web import idempotency
from caas.web.forms import MalformedFormError
from caas.web.idempotency import Initiate, KeyedRequest
from caas.web.response import Response, see_other

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
