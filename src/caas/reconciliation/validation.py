"""Validates notes, documents and resolutions of discrepancies.

Rule a change must keep: notes and documents contain no card number.
"""

from typing import Final

from caas.billing_database.discrepancies import Discrepancy
from caas.dual_control import DecisionPendingError
from caas.errors import ConflictError, NotFoundError, RefusedError
from caas.rules.card_numbers import contains_card_number
from caas.rules.discrepancies import KINDS, Resolution

DOCUMENT_BYTES_MAX: Final = 5 * 1024 * 1024
DOCUMENT_TYPES: Final = frozenset(
    {"application/pdf", "image/png", "image/jpeg", "text/plain", "text/csv", "application/json"}
)
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
