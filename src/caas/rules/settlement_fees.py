"""What the gateway may keep of a settlement, as it was agreed: the measure of a fee drift.

Rules a change must keep: whole minor units, a per mille of the gross rounded half up and a fixed
part; without agreed terms no fee is ever a discrepancy.
"""

from dataclasses import dataclass
from typing import Final

from caas.errors import StartupError

PARTS: Final = 3


class FeeTermsError(StartupError):
    """Fees are three whole numbers: per mille of a settlement, fixed part, fee of a dispute."""

    code = "fee_terms"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeTerms:
    """Per mille of a settlement, plus a fixed part; a fixed fee for a dispute; minor units."""

    per_mille: int
    fixed: int
    dispute: int

    def of_settlement(self, gross: int) -> int:
        """Return what may be kept of a settlement of this gross amount."""
        return (gross * self.per_mille + 500) // 1000 + self.fixed


def read_fee_terms(text: str) -> FeeTerms | None:
    """Read "per mille,fixed,dispute"; an empty text is no agreement.

    Raises:
        FeeTermsError: it is not three whole numbers.
    """
    if not text.strip():
        return None
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != PARTS or not all(part.isascii() and part.isdigit() for part in parts):
        raise FeeTermsError
    per_mille, fixed, dispute = (int(part) for part in parts)
    return FeeTerms(per_mille=per_mille, fixed=fixed, dispute=dispute)
