"""Who may be sold a service for which vehicle (decision 91).

A service is sold to the customer to whom the vehicle was delivered. A fleet operator sells for any
customer and any vehicle, and has to say so: `by_fleet` is the scope `fleet` of an API key.

What is looked at here saves work; the database decides, while it holds the vehicle's order still
(`reserve_term`).

Rule a change must keep: a vehicle that is somebody else's and one that nobody knows are refused in
the same words.
"""

from uuid import UUID

from caas.billing_database import eligibility
from caas.billing_database.billing_details import BillingDetailsRows, buyer_unknown
from caas.billing_database.connection import Database
from caas.rules.payment_types import PaymentType


async def check_eligible(database: Database, *, customer: UUID, vin: str, by_fleet: bool) -> None:
    """Let a sale begin only for the customer's own vehicle, or by a fleet operator.

    Raises:
        VehicleNotTheirsError: the vehicle was not delivered to this customer.
    """
    if not by_fleet and not await eligibility.has_vehicle(database, customer, vin):
        raise eligibility.not_theirs(vin)


async def check_buyer(database: Database, *, customer: UUID, price: int) -> None:
    """Let a sale begin only to a buyer whom its invoice can name, where it must.

    Raises:
        BillingDetailsRequiredError: it could not.
    """
    rows = BillingDetailsRows(database)
    missing = await rows.missing_fields(customer, sale=PaymentType.SERVICE.value, amount=price)
    if missing:
        raise buyer_unknown(customer, missing)
