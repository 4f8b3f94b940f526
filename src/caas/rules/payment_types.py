"""The Payment Type Matrix: the four payment types and what sets each apart.

One frozen row per type, in the seed's words, with two facts that other parts act on: whether the
caller waits for the first definitive answer, and which evidence opens the way to a capture
(decisions 13, 14).

Rules a change must keep:

1. Every type has a row; a new type needs its row here and its leaf in Diagram 7 before anything
   type-checks.
2. No type may be captured without evidence: `evidence_kind` is not optional.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class PaymentType(StrEnum):
    """What is being paid for."""

    RESERVATION = "reservation"
    FINAL = "final"
    SERVICE = "service"
    SUBSCRIPTION = "subscription"


class SettlementModel(StrEnum):
    """Whether a caller waits for the bank's first word or goes on without it."""

    SYNCHRONOUS_VERIFICATION = "Synchronous verification"
    ASYNCHRONOUS = "Asynchronous"


class RiskLevel(StrEnum):
    """How much is lost when a payment of this type goes wrong."""

    LOW = "Low"
    MEDIUM = "Medium"
    HIGH = "High"


class EvidenceKind(StrEnum):
    """The proof of delivery without which no charge is captured (decision 14)."""

    RESERVATION_RECORDED = "reservation_recorded"
    ORDER_CONFIRMED = "order_confirmed"
    VEHICLE_ACKNOWLEDGEMENT = "vehicle_acknowledgement"
    USAGE_SNAPSHOT = "usage_snapshot"


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentTypeRow:
    """One row of the Payment Type Matrix."""

    title: str
    timing: str
    settlement_model: SettlementModel
    risk_level: RiskLevel
    business_impact: str
    evidence_kind: EvidenceKind

    @property
    def synchronous(self) -> bool:
        """Whether the caller waits for the first definitive answer."""
        return self.settlement_model is SettlementModel.SYNCHRONOUS_VERIFICATION


MATRIX: Final[Mapping[PaymentType, PaymentTypeRow]] = {
    PaymentType.RESERVATION: PaymentTypeRow(
        title="Reservation Payment",
        timing="At vehicle reservation",
        settlement_model=SettlementModel.SYNCHRONOUS_VERIFICATION,
        risk_level=RiskLevel.LOW,
        business_impact="Blocks inventory",
        evidence_kind=EvidenceKind.RESERVATION_RECORDED,
    ),
    PaymentType.FINAL: PaymentTypeRow(
        title="Final Payment",
        timing="Before vehicle registration",
        settlement_model=SettlementModel.SYNCHRONOUS_VERIFICATION,
        risk_level=RiskLevel.HIGH,
        business_impact="Releases vehicle",
        evidence_kind=EvidenceKind.ORDER_CONFIRMED,
    ),
    PaymentType.SERVICE: PaymentTypeRow(
        title="One-Time Service Payment",
        timing="At service purchase",
        settlement_model=SettlementModel.ASYNCHRONOUS,
        risk_level=RiskLevel.MEDIUM,
        business_impact="Immediate OTA activation",
        evidence_kind=EvidenceKind.VEHICLE_ACKNOWLEDGEMENT,
    ),
    PaymentType.SUBSCRIPTION: PaymentTypeRow(
        title="Subscription Payment",
        timing="Month-end (mes vencido)",
        settlement_model=SettlementModel.ASYNCHRONOUS,
        risk_level=RiskLevel.HIGH,
        business_impact="Post-paid model",
        evidence_kind=EvidenceKind.USAGE_SNAPSHOT,
    ),
}


def evidence_kind(payment_type: PaymentType) -> EvidenceKind:
    """Return the only kind of evidence that allows a payment of this type to be captured."""
    return MATRIX[payment_type].evidence_kind
