"""Checks who may buy a service for a vehicle (decision 91).

A service is sold to the customer to whom the vehicle was delivered. A fleet operator may sell for
any customer and vehicle with `by_fleet`, the `fleet` scope of an API key. These checks are an early
exit; the database decides while it locks the vehicle's order (`reserve_term`).

Rule a change must keep: another customer's vehicle and an unknown one give the same error.
"""

from uuid import UUID

from caas.billing_database import vehicles
from caas.billing_database.connection import Database
from caas.billing_database.customers import BillingDetailsRows, buyer_unknown
from caas.billing_database.services import Service
from caas.billing_database.subscriptions import NewSubscription
from caas.rules.agreed_price import AgreedPrice, UnitPrice
from caas.rules.payment_types import PaymentType


async def check_eligible(database: Database, *, customer: UUID, vin: str, by_fleet: bool) -> None:
    """Check that the vehicle is the customer's, or that a fleet operator sells.

    Raises:
        VehicleNotTheirsError: the vehicle was not delivered to this customer.
    """
    if not by_fleet and not await vehicles.has_vehicle(database, customer, vin):
        raise vehicles.not_theirs(vin)


async def check_buyer(database: Database, *, customer: UUID, price: int) -> None:
    """Check that the invoice can name its buyer where the law requires it.

    Raises:
        BillingDetailsRequiredError: billing details are missing.
    """
    rows = BillingDetailsRows(database)
    missing = await rows.missing_fields(customer, sale=PaymentType.SERVICE.value, amount=price)
    if missing:
        raise buyer_unknown(customer, missing)


def prices_of(terms: NewSubscription | Service) -> AgreedPrice:
    """Return what a subscription costs: the monthly fee and the prices of its metered units."""
    metered = tuple(UnitPrice(one["unit"], one["unit_price"]) for one in terms.metered)
    return AgreedPrice(terms.monthly_fee or 0, terms.currency, metered)
