"""Request bodies of the Internal Payment API.

Rule a change must keep: amounts are whole minor units; no field accepts card data, and free text is
scanned for it.
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
    """The subject, customer, amount and means of payment."""

    subject: UUID
    customer: UUID
    amount: PositiveAmount
    currency: Currency
    payment_method: PaymentMethod | None = None
    return_url: ReturnUrl | None = None


class VoidBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The reason for the void."""

    reason: Reason


class RefundBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The amount to refund and the reason (`desistimiento`, ...).

    `term` says what happens to a running one-time service once nothing is left paid for it: "end"
    or "keep". It is required in that case, except for `desistimiento`, which ends the service.
    """

    amount: PositiveAmount
    reason: Reason
    term: Literal["end", "keep"] | None = None


class SettlementBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A bank's settlement notice for one payment; `settled_amount` is the cumulative total."""

    settlement_id: Reference
    settled: bool
    settled_amount: Amount
    currency: Currency


class DeliveryBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A vehicle's response to the command for a payment, signed with its Ed25519 key."""

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
        """Return it as the OTA Activation Engine's acknowledgement.

        Raises:
            InvalidBodyError: `at` is not a timestamp.
        """
        try:
            at = datetime.fromisoformat(self.at)
        except ValueError as error:
            raise InvalidBodyError(
                "`at` must be the timestamp exactly as the vehicle signed it."
            ) from error
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
    """Filters for payments; times are half open: [created_from, created_to)."""

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
