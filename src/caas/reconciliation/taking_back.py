"""Takes back what a decision posted, when its discrepancy is reopened.

A decision that settles a payment for less posts its loss with the payment's own transition. That
entry stays; the discrepancy posts its reverse, and the payment waits for the rest on settled funds,
as does one that a webhook settled before its line came (decision 225).

Rules a change must keep: a loss is taken back once; a payment that lost its settlement since then
keeps its loss, because nothing more of it will come.
"""

from typing import Final

from caas.billing_database import decided_money
from caas.billing_database.connection import Connection
from caas.billing_database.discrepancies import Discrepancies, Discrepancy
from caas.billing_database.received_money import came_after_failure
from caas.billing_database.refunds import LOCK_PAYMENT
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.transitions import transition_of
from caas.errors import ConflictError
from caas.reconciliation.validation import SETTLED
from caas.rules import postings
from caas.rules.discrepancies import DiscrepancyKind, Resolution
from caas.rules.payment_states import PaymentState, Remark
from caas.rules.postings import Entry
from caas.rules.resolutions import reversed_, still_posted

FAILS_SETTLEMENT: Final = frozenset({
    DiscrepancyKind.DELAYED_SETTLEMENT, DiscrepancyKind.MISSING_AT_GATEWAY,
    DiscrepancyKind.FAILED_SETTLEMENT,
})  # fmt: skip
GIVES_UP: Final = frozenset({Resolution.ACCEPT_LOSS, Resolution.WRITE_OFF})
EXPECTED: Final = frozenset({postings.GATEWAY_RECEIVABLE, postings.SETTLED_FUNDS})


class LossReturnedError(ConflictError):
    """A later line brought what this decision gave up. First reopen the decision about it."""

    code = "loss_returned"


async def taken_back(
    tables: BillingDatabase,
    discrepancies: Discrepancies,
    found: Discrepancy,
    within: Connection,
) -> tuple[Entry, ...]:
    """Let the payment wait for the loss that is taken back; return the entries that reverse all.

    Raises:
        LossReturnedError: a later line brought what this decision gave up.
    """
    posted = still_posted(await discrepancies.posted(found.id, within=within))
    own = still_posted(await discrepancies.entries(found.id, within=within))
    losses = [it for it in posted if it.debit.startswith(postings.RISK_LOSS)]
    fails = found.kind in FAILS_SETTLEMENT and found.resolution in GIVES_UP
    if found.payment_id is None or not (losses or fails):
        return reversed_(posted)
    await within.execute(LOCK_PAYMENT, found.payment_id)
    payment = await tables.payments.get(found.payment_id, within=within)
    if fails and await came_after_failure(payment, within=within) > 0:
        raise LossReturnedError(discrepancy=str(found.id))
    if payment.state not in SETTLED:
        posted, losses = own, [it for it in losses if it in own]
    for loss in losses:
        about = (payment.id, found.currency, loss.debit)
        if (
            loss.credit in EXPECTED
            and await decided_money.lost(*about, within=within) < loss.amount
        ):
            raise LossReturnedError(discrepancy=str(found.id))
    lost = sum(it.amount for it in losses if it.credit == postings.GATEWAY_RECEIVABLE)
    if not lost or payment.state not in SETTLED:
        return reversed_(posted)
    transition = transition_of(
        payment,
        Remark.PARTIALLY_SETTLED,
        source=f"reopened:{found.id}",
        if_version=payment.version,
        facts={"discrepancy": str(found.id), "taken_back": lost},
        settled=lost,
        entries=postings.settled(lost),
    )
    applied = await tables.transitions.apply(transition, within=within)
    assert applied.transitioned, "a locked payment is as it was read"
    return reversed_(posted)


async def standing_entries(
    tables: BillingDatabase,
    discrepancies: Discrepancies,
    found: Discrepancy,
    within: Connection,
) -> tuple[Entry, ...]:
    """Return what a discrepancy has posted that another decision about it replaces.

    A payment that lost its settlement keeps the loss that its own transition posted.
    """
    posted = still_posted(await discrepancies.posted(found.id, within=within))
    if not posted or found.payment_id is None:
        return posted
    payment = await tables.payments.get(found.payment_id, within=within)
    if payment.state is not PaymentState.SETTLEMENT_FAILED:
        return posted
    own = still_posted(await discrepancies.entries(found.id, within=within))
    return tuple(it for it in posted if it in own)
