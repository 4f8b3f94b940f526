"""Charges: the calls that authorize, capture and void a payment (Diagrams 8 and 11).

Each call is bracketed: its intent is committed before it, its outcome after it, and no database
transaction is open while the network is in use.

Rules a change must keep: the key of a call follows from (payment, operation), never from the
attempt; only evidence turns a payment into Failed; an unknown outcome stays unknown and is looked
up; a capture is claimed with its evidence before the gateway is asked for it.
"""

from dataclasses import dataclass
from typing import Final

from caas.billing_database.tables import BillingDatabase
from caas.external_systems.payment_gateway import PaymentGateway
from caas.payment_processing.authorization import Authorization
from caas.payment_processing.capture import Capture
from caas.payment_processing.flow import Alert
from caas.payment_processing.transaction_selection import TransactionSelection
from caas.payment_processing.transitions import ChargeTransitions
from caas.payment_processing.void import Void
from caas.rules.settlement_dates import PollTerms
from caas.rules.time_scale import TimeScale

DEFAULT_POLLS: Final = PollTerms()


@dataclass(frozen=True, slots=True, kw_only=True)
class Charges:
    """The parts through which flows charge one gateway."""

    transitions: ChargeTransitions
    selection: TransactionSelection
    authorization: Authorization
    capture: Capture
    void: Void


def charges_through(
    gateway: PaymentGateway,
    tables: BillingDatabase,
    *,
    time_scale: TimeScale,
    alert: Alert,
    polls: PollTerms = DEFAULT_POLLS,
) -> Charges:
    """Build the parts for one gateway, each with the parts it needs."""
    transitions = ChargeTransitions(tables, time_scale=time_scale, alert=alert)
    selection = TransactionSelection(tables, gateway, transitions, time_scale=time_scale)
    return Charges(
        transitions=transitions,
        selection=selection,
        authorization=Authorization(
            tables, gateway, transitions, selection, time_scale=time_scale, alert=alert
        ),
        capture=Capture(gateway, transitions, time_scale=time_scale, alert=alert, polls=polls),
        void=Void(tables, gateway, transitions, time_scale=time_scale),
    )
