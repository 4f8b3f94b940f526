"""Buyers whom an invoice can name: where they are, and how their tax office knows them."""

from typing import Final
from uuid import UUID

from caas.billing.buyers import checked_details
from caas.billing_database.connection import Database
from caas.billing_database.customers import BillingDetailsRows

AT_HOME: Final = {
    "street": "Calle Mayor 1",
    "postcode": "28013",
    "city": "Madrid",
    "country": "ES",
    "tax_id": "12345678Z",
}
"""Billing details, as the API and the forms take them."""


async def gives_details(database: Database, customer: UUID, **elsewhere: str) -> None:
    """Let a customer say what the invoice of a vehicle needs."""
    await BillingDetailsRows(database).put(customer, checked_details(**AT_HOME | elsewhere))
