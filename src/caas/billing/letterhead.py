"""Who issues the invoices: the seller of one market, as its tax office knows it.

Rules a change must keep: pure; whoever sets a letterhead sets all of it, an invoice with half an
address is none.
"""

from dataclasses import dataclass
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Letterhead:
    """The seller's name, VAT id and address, and how its invoices are dated and paid."""

    name: str
    vat_id: str
    street: str
    postcode: str
    city: str
    country: str
    zone: ZoneInfo
    language: str
    payment_terms: str
