"""Charges: the calls that authorize, capture and void a payment (Diagrams 8 and 11).

Each call is bracketed: its intent is committed before it, its outcome after it, and no database
transaction is open while the network is in use.

Rules a change must keep: the key of a call follows from (payment, operation), never from the
attempt; only evidence turns a payment into Failed; an unknown outcome stays unknown and is looked
up; a capture is claimed with its evidence before the gateway is asked for it.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

import msgspec

from caas.billing_database.payments import Payment, TimelineEvent
from caas.billing_database.tables import BillingDatabase
from caas.external_systems.gateway_modifications import GatewayRefusal, Modification
from caas.external_systems.http_answers import RefusedByPartnerError
from caas.external_systems.payment_gateway import (
    AlreadyCapturedError,
    AlreadyVoidedError,
    AuthorizationExpiredError,
)
from caas.payment_processing.authorization import Authorization
from caas.payment_processing.capture import Capture
from caas.payment_processing.flow import Alert
from caas.payment_processing.gateway_calls import Refused
from caas.payment_processing.gateways import Gateways
from caas.payment_processing.transaction_selection import TransactionSelection
from caas.payment_processing.transitions import ACCEPTED, ChargeTransitions
from caas.payment_processing.void import Void
from caas.rules.payment_states import PaymentState
from caas.rules.settlement_dates import PollTerms
from caas.rules.time_scale import TimeScale

DEFAULT_POLLS: Final = PollTerms()
LATER_REFUSALS: Final[Mapping[str, type[RefusedByPartnerError]]] = {
    it.code: it for it in (AlreadyCapturedError, AlreadyVoidedError, AuthorizationExpiredError)
}


class Charges(msgspec.Struct, frozen=True, kw_only=True):
    """The parts through which flows charge the gateways."""

    gateways: Gateways
    transitions: ChargeTransitions
    selection: TransactionSelection
    authorization: Authorization
    capture: Capture
    void: Void

    async def refused_later(
        self, payment: Payment, refusal: GatewayRefusal, accepted: Sequence[TimelineEvent]
    ) -> None:
        """Apply the refusal of a capture or void as if it had been the answer (decision 198).

        `accepted` are the events that record what the gateway accepted: what is refused for a
        reason that decides nothing is sent again under the next key.
        """
        kind = LATER_REFUSALS.get(refusal.refusal, RefusedByPartnerError)
        error = kind(
            partner="The payment gateway", call=f"{refusal.operation} {refusal.transaction_id}",
            status=HTTPStatus.CONFLICT, refusal=refusal.refusal, problem="It was accepted first.",
        )  # fmt: skip
        issue = 1 + _issue_of(refusal, accepted)
        answer = Refused(error, maybe_done=False)
        match refusal.operation, payment.state:
            case Modification.CAPTURE, PaymentState.CAPTURING:
                await self.capture.capture_answered(payment, answer, issue=issue)
            case Modification.VOID, PaymentState.AUTHORIZED:
                await self.void.void_answered(payment, answer, issue=issue)
            case _:
                pass


def _issue_of(refusal: GatewayRefusal, accepted: Sequence[TimelineEvent]) -> int:
    """Return under which issue of the key the refused request was sent.

    A refusal may come before the acceptance is recorded: then it is of the request after those.
    """
    begin = f"{ACCEPTED}{refusal.operation}:"
    of_operation = [event for event in accepted if event.source.startswith(begin)]
    for place, event in enumerate(of_operation, start=1):
        if event.source == f"{begin}{refusal.id}":
            return int(str(event.facts.get("issue", place)))
    return len(of_operation) + 1


def charges_through(
    gateways: Gateways,
    tables: BillingDatabase,
    *,
    time_scale: TimeScale,
    alert: Alert,
    polls: PollTerms = DEFAULT_POLLS,
) -> Charges:
    """Build the parts for these gateways, each with the parts it needs."""
    transitions = ChargeTransitions(tables, time_scale=time_scale, alert=alert)
    selection = TransactionSelection(tables, gateways, transitions, time_scale=time_scale)
    return Charges(
        gateways=gateways,
        transitions=transitions,
        selection=selection,
        authorization=Authorization(
            tables, gateways, transitions, selection, time_scale=time_scale, alert=alert
        ),
        capture=Capture(gateways, transitions, time_scale=time_scale, alert=alert, polls=polls),
        void=Void(tables, gateways, transitions, time_scale=time_scale),
    )
