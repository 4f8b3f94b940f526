"""The issuer of invoices: the seller of one market, as registered with its tax office.

Rule a change must keep: a letterhead is complete or absent.
"""

from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from caas.billing_database.invoices import (
    ADVANCE,
    CREDIT_NOTE,
    DEBIT_NOTE,
    INVOICE,
    SERVICE,
    VEHICLE,
)
from caas.rules.market import Market
from caas.rules.mes_vencido import Month

SERIES_OF: Final = {
    INVOICE: "",
    ADVANCE: "A",
    VEHICLE: "V",
    SERVICE: "S",
    CREDIT_NOTE: "R",
    DEBIT_NOTE: "R",
}
"""Prefix of the series of each kind of document, before the year."""


class Letterhead(msgspec.Struct, frozen=True, kw_only=True):
    """The seller's name, VAT id and address, and how its invoices are dated, numbered and paid.

    `series` prefixes the series of an additional seller in this database, such as `N-`.
    """

    name: str
    vat_id: str
    street: str
    postcode: str
    city: str
    country: str
    zone: ZoneInfo
    language: str
    payment_terms: str
    series: str = ""

    @classmethod
    def of(cls, market: Market) -> "Letterhead":
        """Return the letterhead of a market's invoices."""
        seller = market.seller
        return cls(
            name=seller.name,
            vat_id=seller.vat_id,
            street=seller.street,
            postcode=seller.postcode,
            city=seller.city,
            country=seller.country,
            zone=market.zone,
            language=market.language,
            payment_terms=seller.payment_terms,
            series=seller.series,
        )

    def series_of(self, kind: str, now: datetime) -> str:
        """Return the series of a kind of document in the current year."""
        return f"{self.series}{SERIES_OF[kind]}{Month.containing(now, self.zone).year:04}"

    @property
    def as_issued(self) -> dict[str, str]:
        """Return the seller data that a document stores."""
        names = ("name", "vat_id", "street", "postcode", "city", "country", "payment_terms")
        return {name: getattr(self, name) for name in names}
