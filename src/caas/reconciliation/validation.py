"""Validates notes, documents and resolutions of discrepancies, and says what a decision is about.

Rule a change must keep: notes and documents contain no card number.
"""

from collections.abc import Sequence
from typing import Final

from caas.billing_database.connection import Connection
from caas.billing_database.decided_money import refund_of
from caas.billing_database.discrepancies import Discrepancies, Discrepancy, DiscrepancyEvent
from caas.billing_database.payments import Payment
from caas.billing_database.returned_refunds import NO_REFUND, ReturnedByLine
from caas.billing_database.settlement_reports import StoredLine
from caas.dual_control import DecisionPendingError
from caas.errors import ConflictError, NotFoundError, RefusedError
from caas.rules.card_numbers import contains_card_number
from caas.rules.discrepancies import KINDS, DiscrepancyKind, Resolution
from caas.rules.payment_states import PaymentState
from caas.rules.resolutions import Subject

DOCUMENT_BYTES_MAX: Final = 5 * 1024 * 1024
DOCUMENT_TYPES: Final = frozenset(
    {"application/pdf", "image/png", "image/jpeg", "text/plain", "text/csv", "application/json"}
)
SETTLED: Final = frozenset({PaymentState.SETTLED, PaymentState.REFUNDING, PaymentState.REFUNDED})
BALANCED: Final = frozenset({DiscrepancyKind.CHARGEBACK, DiscrepancyKind.FAILED_SETTLEMENT})
"""Kinds that without a line follow decisions of sealed days (decisions 270 and 276)."""
READABLE: Final = frozenset({"text/plain", "text/csv", "application/json"})


class ResolutionNotAllowedError(RefusedError):
    """This kind of discrepancy does not allow this resolution."""

    code = "resolution_not_allowed"


class DiscrepancyResolvedError(ConflictError):
    """The discrepancy is already resolved. Reopen it first."""

    code = "discrepancy_resolved"


class NotResolvedError(ConflictError):
    """Only a resolved discrepancy can be reopened."""

    code = "not_resolved"


class RefundMadeError(ConflictError):
    """The gateway refunded what this decision gave back, so the decision stands."""

    code = "refund_made"


class RefundOnItsWayError(ConflictError):
    """The gateway may be making the refund of this decision. Try again once its job has ended."""

    code = "refund_on_its_way"


class BalancedByItselfError(ConflictError):
    """This follows decisions of sealed days. It changes with the payment, by itself."""

    code = "balanced_by_itself"


class DocumentRefusedError(RefusedError):
    """A document must be a PDF, an image or a text without a card number, and at most 5 MB."""

    code = "document_refused"


class DocumentNotFoundError(NotFoundError):
    """No attached document has this id."""

    code = "document_not_found"


def refuse_undecidable(
    found: Discrepancy, resolution: Resolution, offered: frozenset[Resolution]
) -> None:
    """Check that a discrepancy can be resolved in this way.

    Raises:
        DiscrepancyResolvedError, DecisionPendingError, ResolutionNotAllowedError: it cannot.
    """
    if found.status == "resolved":
        raise DiscrepancyResolvedError(discrepancy=str(found.id))
    if found.status == "proposed":
        raise DecisionPendingError(discrepancy=str(found.id))
    refuse_not_offered(found, resolution, offered)


def refuse_not_offered(
    found: Discrepancy, resolution: Resolution, offered: frozenset[Resolution]
) -> None:
    """Check that a resolution is still available for this discrepancy.

    Raises:
        ResolutionNotAllowedError: it is not.
    """
    if resolution in offered:
        return
    because = ""
    if resolution is Resolution.CLAIM_FROM_GATEWAY and resolution in KINDS[found.kind].allowed:
        because = "The gateway owes us nothing here, so nothing can be claimed from it. "
    raise ResolutionNotAllowedError(
        f"{because}This discrepancy ({found.kind}) can be resolved by: "
        f"{', '.join(sorted(offered))}."
    )


def refuse_not_refundable(
    found: Discrepancy, why: str | None, refundable: frozenset[Resolution]
) -> None:
    """Check that a refund that is offered is possible at the gateway.

    Raises:
        ResolutionNotAllowedError: the gateway cannot refund the line's transaction.
    """
    if why is not None:
        raise ResolutionNotAllowedError(
            f"{why} This discrepancy ({found.kind}) can be resolved by: "
            f"{', '.join(sorted(refundable))}."
        )


async def refuse_reopening(found: Discrepancy, *, within: Connection) -> None:
    """Check that a discrepancy is resolved, and that its decision can be taken back.

    Raises:
        NotResolvedError, BalancedByItselfError: there is no decision.
        RefundMadeError, RefundOnItsWayError: the gateway refunded it, or may have.
    """
    if found.status != "resolved":
        raise NotResolvedError(status=found.status)
    if found.kind in BALANCED and found.report_id is None:
        raise BalancedByItselfError(discrepancy=str(found.id))
    await refuse_refunded(found, within=within)


async def refuse_refunded(found: Discrepancy, *, within: Connection) -> None:
    """Check that the decision which stands did not refund anything.

    A refund that the gateway refused, or that a person looked up, is a paused job.

    Raises:
        RefundMadeError, RefundOnItsWayError: it did, or it may have.
    """
    if found.resolution != Resolution.REFUND_THE_CUSTOMER:
        return
    made, on_its_way = await refund_of(found.id, within=within)
    if made:
        raise RefundMadeError(discrepancy=str(found.id))
    if on_its_way:
        raise RefundOnItsWayError(discrepancy=str(found.id))


def refuse_document(name: str, media_type: str, content: bytes) -> None:
    """Check the type, size and content of a document.

    Raises:
        DocumentRefusedError: the document is not allowed.
    """
    readable = content.decode("utf-8", "replace") if media_type in READABLE else ""
    if (
        media_type not in DOCUMENT_TYPES
        or not 0 < len(content) <= DOCUMENT_BYTES_MAX
        or not 0 < len(name) <= 200  # noqa: PLR2004 - as the table has it
        or contains_card_number(name)
        or contains_card_number(readable)
    ):
        raise DocumentRefusedError(name=name[:200], media_type=media_type)


def since_decided(events: Sequence[DiscrepancyEvent]) -> Sequence[DiscrepancyEvent]:
    """Return the steps since the decision that stands, with it."""
    decided = [at for at, event in enumerate(events) if event.event in ("resolved", "approved")]
    return events[decided[-1] :] if decided else events


def subject_of(
    found: Discrepancy,
    line: StoredLine | None,
    payment: Payment | None,
    *,
    losses: tuple[tuple[str, int], ...] = (),
    was_lost: bool = False,
    back: ReturnedByLine = NO_REFUND,
) -> Subject:
    """Return the subject of a decision about this discrepancy, with its payment's losses.

    `was_lost` says that the payment had lost its settlement when the discrepancy was opened.
    """
    settled = payment is not None and payment.state in SETTLED
    lost = payment is not None and payment.state is PaymentState.SETTLEMENT_FAILED
    if line is None:
        return Subject(
            kind=found.kind,
            at_stake=found.amount,
            payment_type=payment.type if payment else None,
            payment_settled=settled,
            payment_lost=lost,
            losses=losses,
        )
    known = line.transaction_id or (payment.gateway_transaction_id if payment else None)
    return Subject(
        kind=found.kind,
        at_stake=found.amount,
        gross=line.gross,
        fee=line.fee,
        net=line.net,
        is_settlement=line.type == "settlement",
        fee_drift=line.fee_drift,
        payment_type=payment.type if payment else None,
        payment_settled=settled,
        payment_lost=lost,
        has_transaction=known is not None,
        losses=losses,
        is_evidence=payment is not None and not was_lost and _is_evidence(line, payment),
        returns_own_refund=back.is_known or len(back.refunds) == 1,
        own_refunds=0 if back.is_known else len(back.refunds),
    )


async def was_lost(
    discrepancies: Discrepancies, found: Discrepancy, within: Connection | None
) -> bool:
    """Return whether the payment of a contradicting line had lost its settlement by then."""
    if found.kind is not DiscrepancyKind.STATE_CONFLICT:
        return False
    opened, *_ = await discrepancies.events(found.id, within=within)
    return bool(opened.facts.get("state") == PaymentState.SETTLEMENT_FAILED)


def _is_evidence(line: StoredLine, payment: Payment) -> bool:
    """Return whether the payment was notified of the line and posts its entries itself.

    A payment whose loss is already posted only records the line; a person corrects the loss.
    """
    return (
        line.type == "settlement"
        and line.gross > 0
        and line.reference in {None, str(payment.id)}
        and payment.state is not PaymentState.SETTLEMENT_FAILED
    )
