"""Object-level authorization: restricted keys see only their own objects (F-P7).

Ids are not secrets, so every object is checked against its caller. Objects of others are reported
as not found.

Rule a change must keep: every new kind of object is checked here before it is shown or changed.
"""

from uuid import UUID

from caas.api.authentication import Caller
from caas.api.problems import NotYoursError
from caas.billing_database.customers import CustomerNotFoundError
from caas.billing_database.invoices import Invoice, InvoiceNotFoundError
from caas.billing_database.orders import Order, OrderNotFoundError
from caas.billing_database.payments import Payment, PaymentNotFoundError
from caas.billing_database.services import ServiceOrder
from caas.billing_database.subscriptions import Subscription, SubscriptionNotFoundError
from caas.billing_database.vehicles import (
    Vehicle,
    VehicleNotFoundError,
    dealership_knows,
    dealership_sells,
)
from caas.errors import NotFoundError
from caas.platform import Platform
from caas.rules.payment_types import PaidFor, PaymentType, paid_for
from caas.rules.vehicle_states import VehicleState
from caas.service_catalog import ServiceOrderNotFoundError


def refuse_narrowed(caller: Caller) -> None:
    """Reject a call that is not limited to one customer or dealership if the key is restricted.

    Raises:
        NotYoursError: the key is restricted to a customer or a dealership.
    """
    if caller.is_restricted:
        raise NotYoursError


def refuse_customers_own(caller: Caller) -> None:
    """Reject a customer's key where only staff decide; customers withdraw instead.

    Raises:
        NotYoursError: the key is restricted to a customer.
    """
    if caller.customer is not None:
        raise NotYoursError


def refuse_other_customer(caller: Caller, customer: UUID) -> None:
    """Reject acting for a customer other than the caller's.

    Raises:
        NotYoursError: the key is restricted to another customer.
    """
    if caller.customer is not None and caller.customer != customer:
        raise NotYoursError


def refuse_other_dealership(caller: Caller, dealership: str) -> None:
    """Reject acting for a dealership other than the caller's.

    Raises:
        NotYoursError: the key is restricted to another dealership.
    """
    if caller.dealership is not None and caller.dealership != dealership:
        raise NotYoursError


async def refuse_foreign_subject(
    platform: Platform,
    caller: Caller,
    payment_type: PaymentType,
    *,
    customer: UUID,
    subject: UUID,
) -> None:
    """Reject charging for a subject outside the caller's customer or dealership.

    Raises:
        NotYoursError: the customer or the subject belongs to another customer.
    """
    refuse_other_customer(caller, customer)
    if not caller.is_restricted:
        return
    try:
        match paid_for(payment_type):
            case PaidFor.ORDER:
                await own_order(platform, caller, subject)
            case PaidFor.SERVICE_ORDER:
                await own_service_order(platform, caller, subject)
            case PaidFor.INVOICE:
                raise NotYoursError
    except NotFoundError:
        raise NotYoursError from None


async def own_payment(platform: Platform, caller: Caller, payment_id: UUID) -> Payment:
    """Return a payment visible to the caller.

    Raises:
        PaymentNotFoundError: no visible payment has this id.
    """
    payment = await platform.tables.payments.get(payment_id)
    if caller.is_restricted and not await _owns_payment(platform, caller, payment):
        raise PaymentNotFoundError(f"No payment has the id {payment_id}.")
    return payment


async def own_order(platform: Platform, caller: Caller, order_id: UUID) -> Order:
    """Return an order visible to the caller.

    Raises:
        OrderNotFoundError: no visible order has this id.
    """
    order = await platform.order_management.orders.get(order_id)
    theirs = caller.customer in {None, order.customer}
    if not (theirs and caller.dealership in {None, order.dealership}):
        raise OrderNotFoundError(f"No order has the id {order_id}.")
    return order


async def refuse_foreign_vehicle(platform: Platform, caller: Caller, vin: str) -> None:
    """Reject acting on a vehicle whose order does not belong to the caller's dealership.

    Raises:
        NotYoursError: the key is restricted to a customer or to another dealership.
    """
    if not caller.is_restricted:
        return
    held = await platform.order_management.vehicles.assignments(vin=vin)
    if caller.customer is not None or not held:
        raise NotYoursError
    try:
        await own_order(platform, caller, held[0].order_id)
    except NotFoundError:
        raise NotYoursError from None


async def own_service_order(platform: Platform, caller: Caller, order_id: UUID) -> ServiceOrder:
    """Return a service order visible to the caller; dealerships see none.

    Raises:
        ServiceOrderNotFoundError: no visible service order has this id.
    """
    order = await platform.service_catalog.service_order(order_id)
    if not _is_of(caller, order.customer):
        raise ServiceOrderNotFoundError(f"No service order has the id {order_id}.")
    return order


async def own_invoice(platform: Platform, caller: Caller, invoice_id: UUID) -> Invoice:
    """Return a document visible to the caller: their own, or of an order of their dealership.

    Raises:
        InvoiceNotFoundError: no visible document has this id.
    """
    invoice = await platform.invoices.invoice(invoice_id)
    theirs = _is_of(caller, invoice.customer)
    if caller.dealership is not None and invoice.subject is not None:
        try:
            await own_order(platform, caller, invoice.subject)
            theirs = True
        except NotFoundError:
            theirs = False
    if not theirs:
        raise InvoiceNotFoundError(f"No invoice has the id {invoice_id}.")
    return invoice


async def own_subscription(
    platform: Platform, caller: Caller, subscription_id: UUID
) -> Subscription:
    """Return a subscription visible to the caller; dealerships see none.

    Raises:
        SubscriptionNotFoundError: no visible subscription has this id.
    """
    subscription = await platform.subscriptions.subscription(subscription_id)
    if not _is_of(caller, subscription.customer):
        raise SubscriptionNotFoundError(f"No subscription has the id {subscription_id}.")
    return subscription


async def refuse_foreign_customer(platform: Platform, caller: Caller, customer: UUID) -> None:
    """Reject a customer who is not the caller's or not a customer of their dealership.

    A dealership sees the customers it created and those who paid a reservation there; an unpaid
    order is not enough (decision 91).

    Raises:
        CustomerNotFoundError: the customer is not visible to the caller.
    """
    theirs = caller.customer in {None, customer}
    if theirs and caller.dealership is not None:
        theirs = await dealership_knows(platform.tables.database, caller.dealership, customer)
    if not theirs:
        raise CustomerNotFoundError(f"No customer has the id {customer}.")


async def hide_foreign_vehicle(platform: Platform, caller: Caller, vin: str) -> None:
    """Reject a vehicle that the caller's customer does not have or their dealership did not sell.

    Raises:
        VehicleNotFoundError: the vehicle is not visible to the caller.
    """
    if not caller.is_restricted:
        return
    for assignment in await platform.order_management.vehicles.assignments(vin=vin):
        order = await platform.order_management.orders.get(assignment.order_id)
        if caller.customer in {None, order.customer} and caller.dealership in {
            None, order.dealership,
        }:  # fmt: skip
            return
    raise VehicleNotFoundError(f"No vehicle has the VIN {vin}.")


async def own_vehicle(platform: Platform, caller: Caller, vin: str) -> Vehicle:
    """Return a vehicle visible to the caller: in stock, their own, or sold by their dealership.

    Raises:
        VehicleNotFoundError: no visible vehicle has this VIN.
    """
    vehicle = await platform.order_management.vehicles.get(vin)
    if vehicle.state is VehicleState.SIN_ASIGNAR or not caller.is_restricted:
        return vehicle
    theirs = True
    if caller.customer is not None:
        assigned = await platform.order_management.vehicles.assignments(vin=vin)
        theirs = any(one.customer == caller.customer for one in assigned)
    if theirs and caller.dealership is not None:
        theirs = await dealership_sells(platform.tables.database, caller.dealership, vin)
    if not theirs:
        raise VehicleNotFoundError(f"No vehicle has the VIN {vin}.")
    return vehicle


async def _owns_payment(platform: Platform, caller: Caller, payment: Payment) -> bool:
    if caller.dealership is None:
        return _is_of(caller, payment.customer)
    if paid_for(payment.type) is not PaidFor.ORDER:
        return False
    try:
        await own_order(platform, caller, payment.subject)
    except NotFoundError:
        return False
    return True


def _is_of(caller: Caller, customer: UUID) -> bool:
    return caller.dealership is None and caller.customer in {None, customer}
