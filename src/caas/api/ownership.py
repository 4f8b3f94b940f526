"""What a narrowed key may see: its own customer's or dealership's things, and no others (F-P7).

Ids are no secrets, so that every object is checked against its caller. What belongs to somebody
else is answered as if it did not exist.

Rule a change must keep: an object of a new kind is checked here before it is shown or changed.
"""

from uuid import UUID

from caas.api.authentication import Caller
from caas.api.problems import NotYoursError
from caas.billing_database.customers import CustomerNotFoundError
from caas.billing_database.eligibility import dealership_knows, dealership_sells
from caas.billing_database.invoices import Invoice, InvoiceNotFoundError
from caas.billing_database.orders import Order, OrderNotFoundError
from caas.billing_database.payments import Payment, PaymentNotFoundError
from caas.billing_database.services import ServiceOrder
from caas.billing_database.subscriptions import Subscription, SubscriptionNotFoundError
from caas.billing_database.vehicles import Vehicle, VehicleNotFoundError
from caas.errors import NotFoundError
from caas.platform import Platform
from caas.rules.payment_types import PaidFor, PaymentType, paid_for
from caas.rules.vehicle_states import VehicleState
from caas.service_catalog import ServiceOrderNotFoundError


def refuse_narrowed(caller: Caller) -> None:
    """Refuse a call that is about everybody to a key that is for somebody.

    Raises:
        NotYoursError: the key is narrowed to a customer or a dealership.
    """
    if caller.is_restricted:
        raise NotYoursError


def refuse_customers_own(caller: Caller) -> None:
    """Refuse to a customer's key what is decided about a customer: they withdraw instead.

    Raises:
        NotYoursError: the key is for a customer.
    """
    if caller.customer is not None:
        raise NotYoursError


def refuse_other_customer(caller: Caller, customer: UUID) -> None:
    """Refuse to act for a customer who is not the caller's.

    Raises:
        NotYoursError: the key is for another customer.
    """
    if caller.customer is not None and caller.customer != customer:
        raise NotYoursError


def refuse_other_dealership(caller: Caller, dealership: str) -> None:
    """Refuse to act for a dealership that is not the caller's.

    Raises:
        NotYoursError: the key is for another dealership.
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
    """Refuse to charge for what is not the caller's customer's or dealership's.

    Raises:
        NotYoursError: the customer, or the thing that is paid for, is somebody else's.
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
    """Return a payment the caller may know of.

    Raises:
        PaymentNotFoundError: there is none with this id, or none of theirs.
    """
    payment = await platform.tables.payments.get(payment_id)
    if caller.is_restricted and not await _owns_payment(platform, caller, payment):
        raise PaymentNotFoundError(f"No payment has the id {payment_id}.")
    return payment


async def own_order(platform: Platform, caller: Caller, order_id: UUID) -> Order:
    """Return an order the caller may know of.

    Raises:
        OrderNotFoundError: there is none with this id, or none of theirs.
    """
    order = await platform.order_management.order(order_id)
    theirs = caller.customer in {None, order.customer}
    if not (theirs and caller.dealership in {None, order.dealership}):
        raise OrderNotFoundError(f"No order has the id {order_id}.")
    return order


async def refuse_foreign_vehicle(platform: Platform, caller: Caller, vin: str) -> None:
    """Refuse to act on a vehicle whose order is not the caller's dealership's.

    Raises:
        NotYoursError: the key is for a customer, or for another dealership.
    """
    if not caller.is_restricted:
        return
    held = await platform.order_management.assignments(vin=vin)
    if caller.customer is not None or not held:
        raise NotYoursError
    try:
        await own_order(platform, caller, held[0].order_id)
    except NotFoundError:
        raise NotYoursError from None


async def own_service_order(platform: Platform, caller: Caller, order_id: UUID) -> ServiceOrder:
    """Return a service order the caller may know of; dealerships have none.

    Raises:
        ServiceOrderNotFoundError: there is none with this id, or none of theirs.
    """
    order = await platform.service_catalog.service_order(order_id)
    if not _is_of(caller, order.customer):
        raise ServiceOrderNotFoundError(f"No service order has the id {order_id}.")
    return order


async def own_invoice(platform: Platform, caller: Caller, invoice_id: UUID) -> Invoice:
    """Return a document the caller may know of: their own, or of an order of their dealership.

    Raises:
        InvoiceNotFoundError: there is none with this id, or none of theirs.
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
    """Return a subscription the caller may know of; dealerships have none.

    Raises:
        SubscriptionNotFoundError: there is none with this id, or none of theirs.
    """
    subscription = await platform.subscriptions.subscription(subscription_id)
    if not _is_of(caller, subscription.customer):
        raise SubscriptionNotFoundError(f"No subscription has the id {subscription_id}.")
    return subscription


async def refuse_foreign_customer(platform: Platform, caller: Caller, customer: UUID) -> None:
    """Refuse to know a customer who is neither the caller's nor known to their dealership.

    A dealership knows whom it created and who paid a reservation there; that it names somebody in
    an order makes nobody its customer (decision 91).

    Raises:
        CustomerNotFoundError: as if there were none.
    """
    theirs = caller.customer in {None, customer}
    if theirs and caller.dealership is not None:
        theirs = await dealership_knows(platform.tables.database, caller.dealership, customer)
    if not theirs:
        raise CustomerNotFoundError(f"No customer has the id {customer}.")


async def hide_foreign_vehicle(platform: Platform, caller: Caller, vin: str) -> None:
    """Refuse to show a vehicle to a customer or a dealership that does not have or sold it.

    Raises:
        VehicleNotFoundError: as if there were none.
    """
    if not caller.is_restricted:
        return
    for assignment in await platform.order_management.assignments(vin=vin):
        order = await platform.order_management.order(assignment.order_id)
        if caller.customer in {None, order.customer} and caller.dealership in {
            None, order.dealership,
        }:  # fmt: skip
            return
    raise VehicleNotFoundError(f"No vehicle has the VIN {vin}.")


async def own_vehicle(platform: Platform, caller: Caller, vin: str) -> Vehicle:
    """Return a vehicle the caller may know of: any in stock, their own, one their dealership sold.

    Raises:
        VehicleNotFoundError: there is none with this VIN, or none of theirs.
    """
    vehicle = await platform.order_management.vehicle(vin)
    if vehicle.state is VehicleState.SIN_ASIGNAR or not caller.is_restricted:
        return vehicle
    theirs = True
    if caller.customer is not None:
        assigned = await platform.order_management.assignments(vin=vin)
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
