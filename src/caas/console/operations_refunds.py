"""Refunds a payment from its page, with dual control above a limit.

Rules a change must keep: an amount is parsed in the language of the page, never guessed, and shown
back before it takes effect; Payment Processing decides whether a second person must approve, and
what may be refunded.
"""

from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.decisions import RefundDecision, RefundWish
from caas.billing_database.entitlements import OrderTerm
from caas.billing_database.payments import Payment
from caas.billing_database.refunds import UnknownRefund
from caas.console.context import Console
from caas.console.form_actions import acted, asks, has_seen, seen
from caas.console.formats import amount_typed, plain_amount, written
from caas.console.page_routes import OPERATIONS, NothingHereError, PageRoute, post
from caas.console.request import PageRequest
from caas.errors import NotFoundError, RefusedError
from caas.payment_processing.refund_requests import MAY_HAVE_MONEY
from caas.rules.discrepancies import is_large
from caas.rules.money import Money
from caas.web.response import Response

REASONS: Final = ("desistimiento", "goodwill", "not_delivered", "charged_in_error")
TERMS: Final = ("end", "keep")


class RefundReasonError(RefusedError):
    """Choose why the money goes back."""

    code = "refund_reason_missing"


class RefundOffer(msgspec.Struct, frozen=True):
    """The refund options of a page: the remaining amount, the proposal, and the decision to take.

    While the outcome of a refund is `unknown`, no other refund is offered.
    """

    left: Money
    typed: str
    proposal: RefundDecision | None
    asks_term: bool
    unknown: UnknownRefund | None = None

    @property
    def needs_second(self) -> bool:
        """Whether refunding the whole remaining amount requires a second person."""
        return is_large(self.left)


async def refund_offer(
    console: Console, request: PageRequest, payment: Payment, term: OrderTerm | None
) -> RefundOffer | None:
    """Return what the payment's page can refund; None if nothing, or if a refund is pending."""
    processing = console.platform.payment_processing
    left = await processing.refunds.left(payment.id) if payment.state in MAY_HAVE_MONEY else 0
    proposal = await processing.refund_operations.proposed(payment.id)
    unknown = await processing.refunds.unknown(payment.id)
    if left <= 0 and proposal is None and unknown is None:
        return None
    money = Money(max(left, 0), payment.currency)
    return RefundOffer(
        left=money,
        typed=plain_amount(money, request.language),
        proposal=proposal,
        asks_term=term is not None and term.state == "granted" and term.lasts,
        unknown=unknown,
    )


async def refund(console: Console, request: PageRequest) -> Response:
    """Refund a payment, or propose the refund if a second person must approve."""
    payment_id: UUID = request.ids["payment_id"]
    try:
        payment = await console.platform.tables.payments.get(payment_id)
    except NotFoundError as error:
        raise NothingHereError from error

    processing, note = console.platform.payment_processing, request.form.get("note", "")

    async def act() -> None:
        await processing.refund_operations.decide(
            payment_id, _wish(request, payment), note=note, by=request.by.actor
        )

    unknown = await processing.refunds.unknown(payment_id)
    if unknown is None and note.strip() and _is_to_ask(request, payment):
        return _confirmation(console, request, payment)
    return await acted(console, request, _path(payment_id), act)


async def agree(console: Console, request: PageRequest) -> Response:
    """Approve as the second person."""
    payment_id, investigation = (
        request.ids["payment_id"],
        console.platform.payment_processing.refund_operations,
    )
    return await acted(
        console,
        request,
        _path(payment_id),
        lambda: investigation.agree(payment_id, by=request.by.actor),
    )


async def withdraw(console: Console, request: PageRequest) -> Response:
    """Withdraw a proposal."""
    payment_id, investigation = (
        request.ids["payment_id"],
        console.platform.payment_processing.refund_operations,
    )
    return await acted(
        console,
        request,
        _path(payment_id),
        lambda: investigation.withdraw(payment_id, by=request.by.actor),
    )


def _is_to_ask(request: PageRequest, payment: Payment) -> bool:
    """Return whether to confirm: the form is valid, and its amount was not shown back yet."""
    try:
        return not has_seen(request, _wish(request, payment).amount)
    except RefusedError:
        return False


def _confirmation(console: Console, request: PageRequest, payment: Payment) -> Response:
    wish = _wish(request, payment)
    money = Money(wish.amount, payment.currency)
    fields = {name: request.form.get(name, "") for name in ("amount", "reason", "term", "note")}
    return asks(
        console, request, "propose_refund" if is_large(money) else "refund",
        back=_path(payment.id), name=written(money, request.language),
        fields=fields | seen(wish.amount),
    )  # fmt: skip


def _wish(request: PageRequest, payment: Payment) -> RefundWish:
    money = amount_typed(request.form.get("amount", ""), payment.currency, request.language)
    reason, term = request.form.get("reason", ""), request.form.get("term", "")
    if reason not in REASONS:
        raise RefundReasonError
    return RefundWish(money.amount, reason, term if term in TERMS else None)


def _path(payment_id: UUID) -> str:
    return f"/operations/payments/{payment_id}"


_REFUND: Final = "/operations/payments/{payment_id:uuid}/refund"
OPERATIONS_REFUND_ROUTES: Final[tuple[PageRoute, ...]] = (
    post(_REFUND, refund, OPERATIONS),
    post(_REFUND + "/agree", agree, OPERATIONS),
    post(_REFUND + "/withdraw", withdraw, OPERATIONS),
)
