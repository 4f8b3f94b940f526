"""The Payment Type Matrix, held against the seed's table."""

import pytest

from caas.rules.payment_types import PaymentType, SettlementModel, evidence_kind, row_of

SEED_MATRIX = [
    ("Reservation Payment", "At vehicle reservation", "Synchronous verification", "Low",
     "Blocks inventory"),
    ("Final Payment", "Before vehicle registration", "Synchronous verification", "High",
     "Releases vehicle"),
    ("One-Time Service Payment", "At service purchase", "Asynchronous", "Medium",
     "Immediate OTA activation"),
    ("Subscription Payment", "Month-end (mes vencido)", "Asynchronous", "High",
     "Post-paid model"),
]  # fmt: skip


def test_the_matrix_is_the_seeds_table_row_by_row() -> None:
    rows = [
        (row.title, row.timing, row.settlement_model, row.risk_level, row.business_impact)
        for row in map(row_of, PaymentType)
    ]

    assert rows == SEED_MATRIX


@pytest.mark.parametrize(
    ("payment_type", "waits"),
    [
        (PaymentType.RESERVATION, True),
        (PaymentType.FINAL, True),
        (PaymentType.SERVICE, False),
        (PaymentType.SUBSCRIPTION, False),
    ],
)
def test_callers_wait_for_reservation_and_final_payments_only(
    payment_type: PaymentType, *, waits: bool
) -> None:
    assert (
        row_of(payment_type).settlement_model is SettlementModel.SYNCHRONOUS_VERIFICATION
    ) is waits


@pytest.mark.parametrize(
    ("payment_type", "evidence"),
    [
        ("reservation", "reservation_recorded"),
        ("final", "order_confirmed"),
        ("service", "vehicle_acknowledgement"),
        ("subscription", "usage_snapshot"),
    ],
)
def test_each_type_is_captured_on_its_own_kind_of_evidence(
    payment_type: str, evidence: str
) -> None:
    assert evidence_kind(PaymentType(payment_type)) == evidence
