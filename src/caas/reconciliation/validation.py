"""What the desk of "Manual investigation required" does not take: texts, documents, decisions.

Rules a change must keep: texts and documents hold no card number; each refusal names what would be
right; nothing here reads or writes a row.
"""

from typing import Final

from caas.billing_database.discrepancies import Discrepancy
from caas.dual_control import DecisionPendingError
from caas.errors import ConflictError, NotFoundError, RefusedError
from caas.rules.card_numbers import contains_card_number
from caas.rules.discrepancies import Resolution

DOCUMENT_BYTES_MAX: Final = 5 * 1024 * 1024
DOCUMENT_TYPES: Final = frozenset(
    {"application/pdf", "image/png", "image/jpeg", "text/plain", "text/csv", "application/json"}
)
READABLE: Final = frozenset({"text/plain", "text/csv", "application/json"})


class ResolutionNotAllowedError(RefusedError):
    """This kind of discrepancy cannot be resolved this way."""

    code = "resolution_not_allowed"


class DiscrepancyResolvedError(ConflictError):
    """The discrepancy is resolved already; reopen it first."""

    code = "discrepancy_resolved"


class NotResolvedError(ConflictError):
    """Only a resolved discrepancy can be reopened."""

    code = "not_resolved"


class DocumentRefusedError(RefusedError):
    """A document is a PDF, an image, or text without a card number; five megabytes at most."""

    code = "document_refused"


class DocumentNotFoundError(NotFoundError):
    """No attached document has this id."""

    code = "document_not_found"


def refuse_undecidable(
    found: Discrepancy, resolution: Resolution, offered: frozenset[Resolution]
) -> None:
    """Refuse a decision where nothing is to be decided, or not in this way.

    Raises:
        DiscrepancyResolvedError, DecisionPendingError, ResolutionNotAllowedError: which of them.
    """
    if found.status == "resolved":
        raise DiscrepancyResolvedError(discrepancy=str(found.id))
    if found.status == "proposed":
        raise DecisionPendingError(discrepancy=str(found.id))
    refuse_not_offered(found, resolution, offered)


def refuse_not_offered(
    found: Discrepancy, resolution: Resolution, offered: frozenset[Resolution]
) -> None:
    """Refuse what cannot be done about this one, also when it could be when it was proposed.

    Raises:
        ResolutionNotAllowedError: it cannot.
    """
    if resolution not in offered:
        raise ResolutionNotAllowedError(
            f"This discrepancy ({found.kind}) is resolved by one of: {', '.join(sorted(offered))}."
        )


def refuse_document(name: str, media_type: str, content: bytes) -> None:
    """Refuse a document of another type, too large, or with a card number in it.

    Raises:
        DocumentRefusedError: it is one of these.
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
