"""Refunds and losses of a deposit that is held: they are about the money put aside (decision 287).

Rule a change must keep: called under the payment's lock, in the transaction of the transition.
"""

from msgspec.structs import replace

from caas.billing_database.connection import Connection
from caas.billing_database.held_money import is_held, revenue_on
from caas.billing_database.payments import Payment
from caas.billing_database.transitions import Transition
from caas.rules import postings
from caas.rules.payment_types import PaymentType


async def out_of_held(
    transition: Transition, payment: Payment, amount: int, *, within: Connection
) -> Transition:
    """Return a transition that cancels revenue, taken from the deposit if that is held."""
    if not await _is_held(payment, within):
        return transition
    held = await revenue_on(payment.id, postings.RESERVATION_HELD, within=within)
    released = max(min(held, amount), 0)
    return _with(transition, {"released": released}, postings.deposit_released(released))


async def back_to_held(
    transition: Transition, payment: Payment, amount: int, *, within: Connection
) -> Transition:
    """Return a transition that makes revenue again, put aside if the deposit is held."""
    if not await _is_held(payment, within):
        return transition
    return _with(transition, {"held_again": amount}, postings.deposit_held(amount))


async def _is_held(payment: Payment, within: Connection) -> bool:
    return payment.type is PaymentType.RESERVATION and await is_held(payment.id, within=within)


def _with(
    transition: Transition, facts: dict[str, int], entries: tuple[postings.Entry, ...]
) -> Transition:
    return replace(
        transition,
        facts=(transition.facts or {}) | facts,
        entries=(transition.entries or ()) + entries,
    )
