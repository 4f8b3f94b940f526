"""Names of what a customer's payments are for: car, service or subscription.

A subscription's payment is for the invoice of a month, or it verifies a payment method and is for
the subscription itself.

Rule a change must keep: only what is the customer's own is looked at.
"""

from dataclasses import dataclass, field
from uuid import UUID

from caas.billing_database.payments import Payment
from caas.console.context import Console
from caas.console.payment_view import PaymentView, view_of
from caas.console.request import PageRequest
from caas.rules.payment_types import PaidFor, paid_for


@dataclass(frozen=True, slots=True)
class Subjects:
    """What a customer has: the names of all things, and which month belongs to what."""

    names: dict[UUID, str] = field(default_factory=dict)
    subscriptions: frozenset[UUID] = frozenset()
    subscription_of_invoice: dict[UUID, UUID] = field(default_factory=dict)

    def view(self, payment: Payment) -> PaymentView:
        """Return how a payment stands, and whether it only verified a payment method."""
        return view_of(payment, verifies=payment.subject in self.subscriptions)

    def name(self, payment: Payment) -> str:
        """Return what a payment is for, as its customer calls it."""
        subject = self.subscription_of_invoice.get(payment.subject, payment.subject)
        return self.names.get(subject, "")

    def path(self, payment: Payment) -> str:
        """Return the page of what a payment is for."""
        match paid_for(payment.type):
            case PaidFor.ORDER:
                return f"/car/{payment.subject}"
            case PaidFor.SERVICE_ORDER:
                return f"/service-orders/{payment.subject}"
            case PaidFor.INVOICE:
                subject = self.subscription_of_invoice.get(payment.subject, payment.subject)
                return f"/subscriptions/{subject}" if subject in self.subscriptions else "/invoices"


async def subjects_of(console: Console, request: PageRequest) -> Subjects:
    """Return what a customer has, as far as their lists show it."""
    platform, customer = console.platform, request.customer
    services = await platform.service_catalog.names(request.language)
    orders = await platform.order_management.orders(customer=customer)
    bought = await platform.service_catalog.service_orders(customer=customer)
    subscriptions = await platform.subscriptions.subscriptions(customer=customer)
    invoices = await platform.invoices.invoices(customer=customer)
    return Subjects(
        names={
            **{order.id: order.model for order in orders},
            **{one.id: services.get(one.service, one.service) for one in bought},
            **{one.id: services.get(one.service, one.service) for one in subscriptions},
        },
        subscriptions=frozenset(one.id for one in subscriptions),
        subscription_of_invoice={one.id: one.subscription for one in invoices if one.subscription},
    )
