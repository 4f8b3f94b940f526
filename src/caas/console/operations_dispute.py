"""A dispute for operations: until when evidence is taken, and the form that sends it.

Rules a change must keep: sending is final, so its form is alone on a page that says so; the
document is passed on and never stored; a dispute that takes no evidence has no page.
"""

from typing import Final
from uuid import UUID

from caas.billing_database.payments import Payment
from caas.console.context import Console
from caas.console.form_actions import acted, form_result, new_key
from caas.console.page_routes import OPERATIONS, NothingHereError, PageRoute, get, post
from caas.console.request import PageRequest
from caas.errors import NotFoundError
from caas.payment_processing.dispute_evidence import (
    FILE_BYTES_MAX,
    TEXT_CHARS_MAX,
    EvidenceOutcomeUnknownError,
    NoSuchDisputeError,
)
from caas.rules.money import Money
from caas.web.response import Response

ONE: Final = "/operations/payments/{payment_id:uuid}/disputes/{dispute:word}"


async def dispute(console: Console, request: PageRequest) -> Response:
    """Show a dispute with its due date, and the form for evidence."""
    payment, dispute_id = await _payment(console, request), request.ids["dispute"]
    evidence = console.platform.dispute_evidence
    offered = await evidence.offered(payment.id)
    found = next((it for it in offered if it.gateway_dispute_id == dispute_id), None)
    if found is None:
        raise NothingHereError
    try:
        terms = await evidence.terms(payment.id, dispute_id)
    except (EvidenceOutcomeUnknownError, NoSuchDisputeError):
        terms = None
    return console.page(
        request, "operations/dispute.html", dispute=found, terms=terms, payment=payment,
        claimed=Money(found.claimed_amount, found.claimed_currency), key=new_key(),
        path=_path(payment.id, dispute_id), after=form_result(console, request),
        file_megabytes=FILE_BYTES_MAX / 1_000_000, text_chars_max=TEXT_CHARS_MAX,
    )  # fmt: skip


async def send(console: Console, request: PageRequest) -> Response:
    """Send evidence to the cardholder's bank."""
    payment, dispute_id = await _payment(console, request), request.ids["dispute"]
    content = request.upload.content if request.upload is not None else b""
    return await acted(
        console, request, _path(payment.id, dispute_id),
        lambda: console.platform.dispute_evidence.send(
            payment, dispute_id, text=request.form.get("text", ""), content=content,
            by=request.by.account,
        ),
    )  # fmt: skip


async def _payment(console: Console, request: PageRequest) -> Payment:
    try:
        return await console.platform.tables.payments.get(request.ids["payment_id"])
    except NotFoundError as error:
        raise NothingHereError from error


def _path(payment_id: UUID, dispute_id: str) -> str:
    return f"/operations/payments/{payment_id}/disputes/{dispute_id}"


OPERATIONS_DISPUTE_ROUTES: Final[tuple[PageRoute, ...]] = (
    get(ONE, dispute, OPERATIONS),
    post(f"{ONE}/documents", send, OPERATIONS, takes_file=True),
)
