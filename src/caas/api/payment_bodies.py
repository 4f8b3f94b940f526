"""What the calls of the Internal Payment API take.

Rule a change must keep: amounts are whole minor units; there is no field for a card, and a text
that could hold one is checked before anything is done with it.
"""

import base64
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from caas.api.problems import InvalidBodyError
from caas.api.queries import PAGE_ROWS, Limit
from caas.api.texts import (
    Amount,
    Currency,
    Epoch,
    Instant,
    Moment,
    PaymentMethod,
    PositiveAmount,
    Reason,
    Reference,
    Remark,
    ReturnUrl,
    Signature,
    Vin,
)
from caas.external_systems.vehicle_messages import Acknowledgement, AcknowledgementStatus, Action
from caas.rules.payment_states import PaymentState
from caas.rules.payment_types import PaymentType


class InitiateBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be paid, by whom, and with what."""

    subject: UUID
    customer: UUID
    amount: PositiveAmount
    currency: Currency
    payment_method: PaymentMethod | None = None
    return_url: ReturnUrl | None = None


class VoidBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a payment is voided."""

    reason: Reason


class RefundBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much goes back, and why (`desistimiento`, ...).

    `term` says what becomes of a one-time service that still runs when nothing is left paid for it:
    "end" or "keep". Needed then, but for `desistimiento`, which ends it.
    """

    amount: PositiveAmount
    reason: Reason
    term: Literal["end", "keep"] | None = None


class SettlementBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The bank's word on one payment; `settled_amount` is the total so far."""

    settlement_id: Reference
    settled: bool
    settled_amount: Amount
    currency: Currency


class DeliveryBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a vehicle said of the command for a payment, signed with its Ed25519 key."""

    vin: Vin
    command_id: UUID
    epoch: Epoch
    service: Reference
    action: Action
    status: AcknowledgementStatus
    at: Instant
    signature: Signature
    status_reason: Remark = ""

    def as_acknowledgement(self, payment_id: UUID) -> Acknowledgement:
        """Return it as the OTA Activation Engine judges it.

        Raises:
            InvalidBodyError: `at` is not a time.
        """
        try:
            at = datetime.fromisoformat(self.at)
        except ValueError as error:
            raise InvalidBodyError("`at` must be a time, as the vehicle signed it.") from error
        return Acknowledgement(
            vin=self.vin,
            command_id=str(self.command_id),
            epoch=self.epoch,
            payment_id=str(payment_id),
            service=self.service,
            action=self.action,
            status=self.status,
            status_reason=self.status_reason,
            at=at,
            at_text=self.at,
            signature=base64.b64decode(self.signature),
        )


class PaymentQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which payments are listed; times are half open: [created_from, created_to)."""

    subject: UUID | None = None
    customer: UUID | None = None
    vin: Vin | None = None
    type: PaymentType | None = None
    state: PaymentState | None = None
    outcome: Literal["known", "unknown"] | None = None
    created_from: Moment | None = None
    created_to: Moment | None = None
    cursor: UUID | None = None
    limit: Limit = PAGE_ROWS
