"""The market an installation sells in, and the seller who issues its invoices.

Rule a change must keep: pure; both are read from the settings once, at the start.
"""

from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Seller:
    """Who issues the invoices."""

    name: str
    vat_id: str
    street: str
    postcode: str
    city: str
    country: str
    payment_terms: str
    series: str = ""


SAMPLE_SELLER: Final = Seller(
    name="Sample seller (set CAAS_SELLER)",
    vat_id="ESA12345674",
    street="Calle de Alcalá 1",
    postcode="28014",
    city="Madrid",
    country="ES",
    payment_terms="Charged to the payment method on file.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """Where we sell, time zone, currency and language, and who sells.

    `code` names the market whose taxes apply; without one it is that of the time zone.
    """

    zone: ZoneInfo
    currency: str
    language: str
    seller: Seller = SAMPLE_SELLER
    code: str = ""
