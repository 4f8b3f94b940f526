"""What a narrowed key may see: its own customer's or dealership's things, and no others (F-P7).

Ids are no secrets, so that every object is checked against its caller. What belongs to somebody
else is answered as if it did not exist.

Rule a change must keep: an object of a new kind is checked here before it is shown or changed.
"""

from uuid import UUID

from caas.api.authentication import Caller
from caas.api.problems import NotYoursError
from caas.api.rooms import Rooms
from caas.billing_database.payments import Payment, PaymentNotFoundError
from caas.errors import NotFoundError
from caas.rules.payment_types import PaymentType

_OF_AN_ORDER = frozenset({PaymentType.RESERVATION, PaymentType.FINAL})


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
    rooms: Rooms, caller: Caller, payment_type: PaymentType, *, customer: UUID, subject: UUID
) -> None:
    """Refuse to charge for what is not the caller's customer's or dealership's.

    Raises:
        NotYoursError: the customer, or the thing that is paid for, is somebody else's.
    """
    refuse_other_customer(caller, customer)
    if not caller.is_restricted:
        return
    if payment_type in _OF_AN_ORDER:
        owned = await owns_order(rooms, caller, subject)
    else:
        owned = await owns_service_order(rooms, caller, subject)
    if not owned:
        raise NotYoursError


async def own_payment(rooms: Rooms, caller: Caller, payment_id: UUID) -> Payment:
    """Return a payment the caller may know of.

    Raises:
        PaymentNotFoundError: there is none with this id, or none of theirs.
    """
    payment = await rooms.books.payments.get(payment_id)
    if caller.is_restricted and not await owns_payment(rooms, caller, payment):
        raise PaymentNotFoundError(f"No payment has the id {payment_id}.")
    return payment


async def owns_payment(rooms: Rooms, caller: Caller, payment: Payment) -> bool:
    """Say whether a payment is of the caller's customer and dealership."""
    if caller.customer not in {None, payment.customer}:
        return False
    if caller.dealership is None:
        return True
    return payment.type in _OF_AN_ORDER and await owns_order(rooms, caller, payment.subject)


async def owns_order(rooms: Rooms, caller: Caller, order_id: UUID) -> bool:
    """Say whether an order is of the caller's customer and dealership."""
    try:
        order = await rooms.order_management.order(order_id)
    except NotFoundError:
        return False
    return caller.customer in {None, order.customer} and caller.dealership in {
        None,
        order.dealership,
    }


async def owns_service_order(rooms: Rooms, caller: Caller, order_id: UUID) -> bool:
    """Say whether a service order is of the caller's customer; dealerships have none."""
    try:
        order = await rooms.service_catalog.service_order(order_id)
    except NotFoundError:
        return False
    return caller.dealership is None and caller.customer in {None, order.customer}
