"""The callables that one room is given of another, so that no room knows its neighbour.

Rule a change must keep: each is a few lines that translate, and decides nothing.
"""

from uuid import UUID

from caas.billing.letterhead import Letterhead
from caas.billing_database.connection import Connection, Database
from caas.billing_database.customers import Customers
from caas.billing_database.payments import Payment
from caas.billing_database.refunds import Refund
from caas.notifications import Address, AddressOf, Notifications
from caas.order_management.order_refunds import Refund as RefundOfOrders
from caas.payment_processing.promised_refunds import PromisedRefunds
from caas.payment_processing.refunds import NotifyRefunded
from caas.settings import Market


def letterhead(market: Market) -> Letterhead:
    """Return the head of the market's invoices."""
    seller = market.seller
    return Letterhead(
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


def orders_refund(refunds: PromisedRefunds) -> RefundOfOrders:
    """Return the refund that Order Management is promised: all that is left, once for a reason."""

    async def refund(payment_id: UUID, reason: str) -> object:
        return await refunds.promise_rest(
            payment_id, reason=reason, key=reason, requested_by="order-management"
        )

    return refund


def refund_notifier(notifications: Notifications) -> NotifyRefunded:
    """Return how a customer is told that money came back."""

    async def notify(payment: Payment, refund: Refund, within: Connection) -> None:
        await notifications.notify(
            audience="customer",
            recipient=payment.customer,
            template="refund_done",
            facts={"amount": refund.amount, "currency": refund.currency, "reason": refund.reason},
            subject=refund.id,
            within=within,
        )

    return notify


def addresses(database: Database) -> AddressOf:
    """Return how a customer's address is found; None once the customer was erased."""
    customers = Customers(database)

    async def address_of(customer: UUID) -> Address | None:
        found = await customers.get(customer)
        if found.name is None or found.email is None:
            return None
        return Address(found.name, found.email, found.language)

    return address_of
