"""Confirmation pages before actions that cannot be undone.

A page that offers such an act leads here by a link, or sends its form here first; the form that
does it stands here alone, at the address the page itself has, with what was filled in before.

Rules a change must keep: nothing is done by opening it; it says what follows and what does not come
back; the way back is as near as the act.
"""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from caas.console.context import Console
from caas.console.idempotent_forms import new_key
from caas.console.request import PageRequest
from caas.web.response import Response

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
