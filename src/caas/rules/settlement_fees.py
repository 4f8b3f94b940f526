"""Agreed gateway fees, against which fee drift is measured.

Rules a change must keep: whole minor units: a per mille of the gross, rounded half up, plus a fixed
part. Without agreed terms no fee is a discrepancy.
"""

from dataclasses import dataclass
from typing import Final

from caas.errors import StartupError

PARTS: Final = 3


class FeeTermsError(StartupError):
    """Fee terms are three whole numbers: per mille of a settlement, fixed part, dispute fee."""

    code = "fee_terms"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeTerms:
    """Per mille of a settlement plus a fixed part, and a fixed dispute fee, in minor units."""

    per_mille: int
    fixed: int
    dispute: int

    def of_settlement(self, gross: int) -> int:
        """Return the agreed fee for a settlement of this gross amount."""
        return (gross * self.per_mille + 500) // 1000 + self.fixed


def read_fee_terms(text: str) -> FeeTerms | None:
    """Parse "per mille,fixed,dispute"; empty text means no agreement.

    Raises:
        FeeTermsError: the text is not three whole numbers.
    """
    if not text.strip():
        return None
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != PARTS or not all(part.isascii() and part.isdigit() for part in parts):
        raise FeeTermsError
    per_mille, fixed, dispute = (int(part) for part in parts)
    return FeeTerms(per_mille=per_mille, fixed=fixed, dispute=dispute)
