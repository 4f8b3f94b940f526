"""Customers' current billing details (record 123).

Documents copy them at issue. Erasing a customer deletes them.

Rule a change must keep: an erased customer has no billing details.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from caas.billing_database.connection import Connection, Database
from caas.billing_database.rows import columns, read_one
from caas.errors import ConflictError


@dataclass(frozen=True, slots=True)
class BillingDetails:
    """The customer data that the law requires on a full invoice."""

    name: str
    street: str
    postcode: str
    city: str
    country: str
    tax_id: str | None
    updated_at: datetime


ONE: Final = f"""
select {columns(BillingDetails)} from billing_details
 where customer = $1
"""
PUT: Final = f"""
insert into billing_details as b (customer, name, street, postcode, city, country, tax_id,
    updated_at)
select c.id, coalesce($2, c.name), $3, $4, $5, $6, $7, db_now() from customers c
 where c.id = $1 and c.erased_at is null for update
on conflict (customer) do update set name = excluded.name, street = excluded.street,
  postcode = excluded.postcode, city = excluded.city, country = excluded.country,
  tax_id = excluded.tax_id, updated_at = excluded.updated_at
returning {columns(BillingDetails)}
"""
LACKING: Final = """
select lacking_details(b, m) as lacking from market_of_sale($1, $2, $3) as sale(market)
  join markets m on m.code = sale.market
  left join billing_details b on b.customer = $3
 where $4::bigint is null or $4 > m.simplified_up_to
"""
NEEDS_TAX_ID: Final = """
select m.buyer_tax_id from markets m where m.code = coalesce(
  (select d.market from dealership_markets d where d.dealership = $1),
  (select s.market from tax_settings s))
"""


class BillingDetailsRequiredError(ConflictError):
    """The invoice must name its buyer. Add the billing details, then buy.

    Send the missing fields listed in `errors` with PUT /v1/customers/{id}/billing-details.
    """

    code = "billing_details_required"


def buyer_unknown(customer: UUID, missing: Sequence[str]) -> BillingDetailsRequiredError:
    """Return the error for a sale whose invoice would lack buyer data."""
    return BillingDetailsRequiredError(
        f"The invoice must name its buyer, and {', '.join(missing)} of customer {customer} are "
        f"missing. Send them with PUT /v1/customers/{customer}/billing-details, then send this "
        "request again.",
        missing=tuple(f"billing_details.{name}" for name in missing),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBillingDetails:
    """Billing details from a request; `name` defaults to the customer's."""

    name: str | None
    street: str
    postcode: str
    city: str
    country: str
    tax_id: str | None


class BillingDetailsRows:
    """The table of billing details."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database

    async def find(self, customer: UUID) -> BillingDetails | None:
        """Return a customer's billing details, or None."""
        return await read_one(BillingDetails, self._database, ONE, customer)

    async def missing_fields(
        self,
        customer: UUID,
        *,
        sale: str,
        subject: UUID | None = None,
        amount: int | None = None,
        within: Connection | None = None,
    ) -> list[str]:
        """Return the buyer data that this sale's invoice requires and does not have.

        `sale` is a payment type and `subject` what it pays for. An invoice for an `amount` up to
        the market's limit is simplified and requires none.
        """
        row = await (within or self._database).fetchrow(LACKING, sale, subject, customer, amount)
        return [] if row is None else list(row["lacking"])

    async def needs_tax_id(self, dealership: str) -> bool:
        """Return whether invoices for this dealership's vehicles require the buyer's tax id."""
        row = await self._database.fetchrow(NEEDS_TAX_ID, dealership)
        return row is not None and bool(row["buyer_tax_id"])

    async def put(self, customer: UUID, new: NewBillingDetails) -> BillingDetails | None:
        """Store billing details; return None if the customer was erased."""
        return await read_one(
            BillingDetails, self._database, PUT, customer, new.name, new.street, new.postcode,
            new.city, new.country, new.tax_id,
        )  # fmt: skip
