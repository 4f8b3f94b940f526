"""A form is done once, however often it is sent: double click, reload, two tabs, back button.

Every form that changes something carries a key of its own. The first time it is done; every other
time the browser is sent where the first one was, also while the first is still under way.

Rules a change must keep: a key belongs to the person who got the form; what was refused changed
nothing and gives its key back; a wait for the first has a limit.
"""

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.idempotency import InFlightError, StoredAnswer, hashed
from caas.billing_database.identifiers import new_id
from caas.billing_database.payments import Payment
from caas.channels.rooms import Channels
from caas.channels.visit import Visit
from caas.errors import RefusedError, UnavailableError
from caas.payment_processing import CallerKey, PaymentRequest
from caas.rules.money import Money
from caas.web.forms import MalformedFormError
from caas.web.response import SEE_OTHER, Response, see_other

KEY: Final = "key"
FIRST_SECONDS_MAX: Final = 20.0
LOOK_AGAIN_SECONDS: Final = 0.15
_ITS_PAYMENT: Final = "\npayment"
_KEY: Final = re.compile(r"[0-9a-f-]{36}")
_NOT_COMPARED: Final = frozenset({KEY, "form_token"})


Initiate = Callable[[PaymentRequest], Awaitable[Payment | StoredAnswer]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A payment to ask for on the gateway's own page, and where the customer comes back to."""

    subject: UUID
    customer: UUID
    due: Money
    return_path: str


def new_key() -> str:
    """Return the key of a form that is about to be shown."""
    return str(new_id())


def key_of(visit: Visit) -> str:
    """Return the key of the form that was sent.

    Raises:
        MalformedFormError: it has none.
    """
    key = visit.form.get(KEY, "")
    if _KEY.fullmatch(key) is None:
        raise MalformedFormError
    return key


async def once(channels: Channels, visit: Visit, work: Callable[[], Awaitable[str]]) -> Response:
    """Do what a form says, unless it was done; `work` returns the path to go on at.

    Raises:
        KeyReusedError: the form was sent before with other content.
        InFlightError: the first is still running after `FIRST_SECONDS_MAX`.
    """
    keys, caller, key = channels.rooms.books.keys, _caller(visit), key_of(visit)
    attempt = new_id()
    stored = await _begun(channels, caller, key, _digest(visit), attempt)
    if stored is not None:
        return see_other(stored.body.decode())
    try:
        path = await work()
    except (RefusedError, UnavailableError):
        await keys.forget(caller, key, attempt=attempt)
        raise
    await keys.end(caller, key, StoredAnswer(SEE_OTHER, path.encode()))
    return see_other(path)


async def initiated(
    channels: Channels, visit: Visit, initiate: Initiate, ordered: Callable[[], Awaitable[Asked]]
) -> Payment:
    """Ask for the payment that a form wants; a form that was cut off and comes again has it.

    `ordered` writes down what is paid for, and is left out when the payment is there already.
    """
    caller, key_hash = _caller(visit), hashed(key_of(visit) + _ITS_PAYMENT)
    payment_id = await channels.rooms.books.keys.payment_of(caller, key_hash)
    if payment_id is None:
        asked = await ordered()
        key = CallerKey(caller, key_hash, _digest(visit))
        payment = await initiate(
            PaymentRequest(
                subject=asked.subject,
                customer=asked.customer,
                amount=asked.due.amount,
                currency=asked.due.currency,
                return_url=channels.settings.public_url + asked.return_path,
                caller_key=key,
            )
        )
        assert isinstance(payment, Payment), "the key inside a form has no answer of its own"
        return payment
    return await channels.rooms.books.payments.get(payment_id)


async def _begun(
    channels: Channels, caller: str, key: str, digest: bytes, attempt: UUID
) -> StoredAnswer | None:
    """Take the key, or wait for the answer of whoever has it."""
    loop = asyncio.get_running_loop()
    until = loop.time() + FIRST_SECONDS_MAX
    while True:
        try:
            return await channels.rooms.books.keys.begin(caller, key, digest, attempt=attempt)
        except InFlightError:
            if loop.time() > until:
                raise
        await asyncio.sleep(LOOK_AGAIN_SECONDS)


def _caller(visit: Visit) -> str:
    return f"channels:{visit.by.account}" if visit.session else f"channels:{visit.form_token}"


def _digest(visit: Visit) -> bytes:
    fields = {name: value for name, value in visit.form.items() if name not in _NOT_COMPARED}
    content = msgspec.json.encode([visit.path, sorted(fields.items())])
    return hashlib.sha256(content).digest()
