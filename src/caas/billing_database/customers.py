"""Customers, their access links and billing details: the only personal data in the database.

Other tables refer to customers by a pseudonymous id (decision 43). Documents copy the billing
details at issue (record 123).

Rules a change must keep: names and addresses are stored only here, so that erasure leaves financial
records intact; erasing a customer deletes the billing details; of an access link only the digest is
stored; it works once and expires.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from caas.billing_database.batching import Batcher, joined_reads
from caas.billing_database.connection import Connection, Database
from caas.billing_database.rows import columns, read_one, row_as
from caas.errors import ConflictError, NotFoundError

ADD: Final = """
insert into customers (id, name, email, language, dealership, created_at)
values ($1, $2, $3, $4, $5, db_now())
returning id, name, email, language, created_at, erased_at
"""


class Customer(msgspec.Struct, frozen=True):
    """A customer; `name` and `email` are null after erasure.

    `untaxed_address` is the country and postcode of an address without tax rates.
    """

    id: UUID
    name: str | None
    email: str | None
    language: str
    created_at: datetime
    erased_at: datetime | None
    untaxed_address: str | None = None


COLUMNS: Final = f"""
select {columns(Customer, untaxed_address="address_without_tax_table(id)")} from customers
"""
ONE: Final = f"{COLUMNS} where id = $1"
SEVERAL: Final = f"{COLUMNS} where id = any ($1)"
ADD_LINK: Final = """
insert into access_credentials (token_hash, customer, order_id, expires_at, created_at)
values ($1, $2, $3, db_now() + make_interval(secs => $4), db_now())
"""
USE_LINK: Final = """
update access_credentials set used_at = db_now()
 where token_hash = $1 and used_at is null and expires_at > db_now()
returning customer, order_id
"""


class CustomerNotFoundError(NotFoundError):
    """No customer has this id."""

    code = "customer_not_found"


class CustomerErasedError(ConflictError):
    """The customer was erased and cannot make new purchases."""

    code = "customer_erased"


class NoTaxTableError(ConflictError):
    """There are no tax rates for the billing address, so nothing can be sold to it."""

    code = "no_tax_table"


class Access(msgspec.Struct, frozen=True):
    """The customer and the order of a used access link."""

    customer: UUID
    order_id: UUID


class Customers:
    """The table of customers."""

    def __init__(self, database: Database) -> None:
        """Read and write through this database."""
        self._database = database
        self._reader: Batcher[UUID, Customer | None] = joined_reads(
            database, SEVERAL, lambda row: Customer(**row)
        )

    async def add(
        self,
        customer_id: UUID,
        *,
        name: str,
        email: str,
        language: str,
        dealership: str | None = None,
    ) -> Customer:
        """Add a customer, linked to the dealership that created it, if any."""
        row = await self._database.fetchrow(ADD, customer_id, name, email, language, dealership)
        assert row is not None, "an insert returns its row"
        return row_as(Customer, row)

    async def get(self, customer_id: UUID, *, within: Connection | None = None) -> Customer:
        """Return a customer.

        Raises:
            CustomerNotFoundError: no customer has this id.
        """
        if within is None:
            customer = await self._reader.write(customer_id)
        else:
            row = await within.fetchrow(ONE, customer_id)
            customer = None if row is None else row_as(Customer, row)
        if customer is None:
            raise CustomerNotFoundError(f"No customer has the id {customer_id}.")
        return customer

    async def buyer(self, customer_id: UUID, *, within: Connection | None = None) -> Customer:
        """Return a customer who can make purchases.

        Raises:
            CustomerNotFoundError: no customer has this id.
            CustomerErasedError: the customer was erased.
            NoTaxTableError: there are no tax rates for their address.
        """
        customer = await self.get(customer_id, within=within)
        if customer.erased_at is not None:
            raise CustomerErasedError(customer=str(customer_id))
        if customer.untaxed_address is not None:
            raise NoTaxTableError(
                f"The billing address of customer {customer_id} is in {customer.untaxed_address}, "
                "which has no tax rates, so nothing can be sold there. Add the market with "
                "'./caas taxes add-market' and its rates for vehicle, service and subscription "
                "with './caas taxes change'.",
                address=customer.untaxed_address,
            )
        return customer

    async def is_erased(self, customer_id: UUID) -> bool:
        """Return whether a customer was erased."""
        return (await self.get(customer_id)).erased_at is not None

    async def add_link(
        self, token: str, access: Access, *, valid_seconds: float, within: Connection
    ) -> None:
        """Store the digest of a new access link."""
        await within.execute(
            ADD_LINK, digest(token), access.customer, access.order_id, valid_seconds
        )

    async def use_link(self, token: str) -> Access | None:
        """Use an access link; None if it is unknown, used or expired."""
        return await read_one(Access, self._database, USE_LINK, digest(token))


def digest(token: str) -> bytes:
    """Return the stored digest of a token."""
    return hashlib.sha256(token.encode()).digest()


class BillingDetails(msgspec.Struct, frozen=True):
    """The customer data that the law requires on a full invoice."""

    name: str
    street: str
    postcode: str
    city: str
    country: str
    tax_id: str | None
    updated_at: datetime


DETAILS: Final = f"""
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


class NewBillingDetails(msgspec.Struct, frozen=True, kw_only=True):
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
        return await read_one(BillingDetails, self._database, DETAILS, customer)

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
