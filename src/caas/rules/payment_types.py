"""The Payment Type Matrix: one frozen row for each of the four payment types.

Two columns drive behaviour: whether the caller waits for the first definitive answer, and which
evidence allows a capture (decisions 13, 14).

Rules a change must keep:

1. Every type has a row here and a leaf in Diagram 7; otherwise nothing type-checks.
2. Every capture needs evidence: `evidence_kind` is not optional.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never


class PaymentType(StrEnum):
    """The four payment types."""

    RESERVATION = "reservation"
    FINAL = "final"
    SERVICE = "service"
    SUBSCRIPTION = "subscription"


class PaidFor(StrEnum):
    """What the subject of a payment identifies."""

    ORDER = "order"
    SERVICE_ORDER = "service_order"
    INVOICE = "invoice"


class SettlementModel(StrEnum):
    """Whether a caller waits for the gateway's first definitive answer."""

    SYNCHRONOUS_VERIFICATION = "Synchronous verification"
    ASYNCHRONOUS = "Asynchronous"


class RiskLevel(StrEnum):
    """The risk when a payment of this type fails."""

    LOW = "Low"
    MEDIUM = "Medium"
    HIGH = "High"


class EvidenceKind(StrEnum):
    """The evidence of delivery that a capture requires (decision 14)."""

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


_RESERVATION = PaymentTypeRow(
    title="Reservation Payment",
    timing="At vehicle reservation",
    settlement_model=SettlementModel.SYNCHRONOUS_VERIFICATION,
    risk_level=RiskLevel.LOW,
    business_impact="Blocks inventory",
    evidence_kind=EvidenceKind.RESERVATION_RECORDED,
)
_FINAL = PaymentTypeRow(
    title="Final Payment",
    timing="Before vehicle registration",
    settlement_model=SettlementModel.SYNCHRONOUS_VERIFICATION,
    risk_level=RiskLevel.HIGH,
    business_impact="Releases vehicle",
    evidence_kind=EvidenceKind.ORDER_CONFIRMED,
)
_SERVICE = PaymentTypeRow(
    title="One-Time Service Payment",
    timing="At service purchase",
    settlement_model=SettlementModel.ASYNCHRONOUS,
    risk_level=RiskLevel.MEDIUM,
    business_impact="Immediate OTA activation",
    evidence_kind=EvidenceKind.VEHICLE_ACKNOWLEDGEMENT,
)
_SUBSCRIPTION = PaymentTypeRow(
    title="Subscription Payment",
    timing="Month-end (mes vencido)",
    settlement_model=SettlementModel.ASYNCHRONOUS,
    risk_level=RiskLevel.HIGH,
    business_impact="Post-paid model",
    evidence_kind=EvidenceKind.USAGE_SNAPSHOT,
)


def row_of(payment_type: PaymentType) -> PaymentTypeRow:
    """Return the row of the Payment Type Matrix for the type."""
    match payment_type:
        case PaymentType.RESERVATION:
            return _RESERVATION
        case PaymentType.FINAL:
            return _FINAL
        case PaymentType.SERVICE:
            return _SERVICE
        case PaymentType.SUBSCRIPTION:
            return _SUBSCRIPTION
    assert_never(payment_type)


def evidence_kind(payment_type: PaymentType) -> EvidenceKind:
    """Return the kind of evidence that a capture of this type requires."""
    return row_of(payment_type).evidence_kind


def sells_a_term(payment_type: PaymentType) -> bool:
    """Return whether payments of this type buy the term of a service, which a refund may end."""
    match payment_type:
        case PaymentType.SERVICE:
            return True
        case PaymentType.RESERVATION | PaymentType.FINAL | PaymentType.SUBSCRIPTION:
            return False
    assert_never(payment_type)


def paid_for(payment_type: PaymentType) -> PaidFor:
    """Return what the subject of this type identifies."""
    match payment_type:
        case PaymentType.RESERVATION | PaymentType.FINAL:
            return PaidFor.ORDER
        case PaymentType.SERVICE:
            return PaidFor.SERVICE_ORDER
        case PaymentType.SUBSCRIPTION:
            return PaidFor.INVOICE
    assert_never(payment_type)
