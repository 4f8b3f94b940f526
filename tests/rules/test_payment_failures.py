"""Diagram 7 leaf by leaf, as the seed draws it, and what is never sent."""

from typing import cast

import pytest

from caas.rules.payment_failures import (
    GATEWAY_REFUSED,
    Consequence,
    NotSentConsequence,
    code_of_refusal,
    consequence_of_failure,
    not_sent_consequence,
    reason_for_customers,
)
from caas.rules.payment_types import PaymentType

SEED_DIAGRAM_7 = [
    ("reservation", False, "NO vehicle reservation"),
    ("reservation", True, "NO vehicle reservation"),
    ("final", False, "Vehicle Sin Asignar"),
    ("final", True, "Vehicle Sin Asignar"),
    ("service", True, "DO NOT CHARGE"),
    ("service", False, "Cancel order"),
    ("subscription", False, "Cancel subscription"),
    ("subscription", True, "Cancel subscription"),
]


@pytest.mark.parametrize(("payment_type", "activated", "leaf"), SEED_DIAGRAM_7)
def test_a_failure_leads_to_the_leaf_of_its_type(
    payment_type: str, *, activated: bool, leaf: str
) -> None:
    consequence = consequence_of_failure(PaymentType(payment_type), ota_already_activated=activated)

    assert consequence == leaf


def test_every_leaf_can_be_reached() -> None:
    assert {leaf for _, _, leaf in SEED_DIAGRAM_7} == set(Consequence)


@pytest.mark.parametrize(
    ("payment_type", "consequence"),
    [
        (PaymentType.RESERVATION, NotSentConsequence.FAIL_PAYMENT),
        (PaymentType.SERVICE, NotSentConsequence.FAIL_PAYMENT),
        (PaymentType.FINAL, NotSentConsequence.KEEP_TRYING),
        (PaymentType.SUBSCRIPTION, NotSentConsequence.KEEP_TRYING),
    ],
)
def test_no_car_and_no_service_is_lost_because_a_payment_was_never_sent(
    payment_type: PaymentType, consequence: NotSentConsequence
) -> None:
    assert not_sent_consequence(payment_type) is consequence


def test_a_payment_type_without_a_leaf_is_a_bug_and_not_a_default() -> None:
    gift = cast("PaymentType", "gift")

    with pytest.raises(AssertionError):
        consequence_of_failure(gift, ota_already_activated=True)
    with pytest.raises(AssertionError):
        not_sent_consequence(gift)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("card_declined", "card_declined"), ("51", "insufficient_funds"),
        ("abandoned", "unrecognised"), ("decided_not_charged", "unrecognised"),
        (None, "unrecognised"), ("", "unrecognised"),
        ("unsupported_currency", "no_decline"), ("gateway_unreachable", "no_decline"),
        (GATEWAY_REFUSED, "no_decline"), (code_of_refusal("declined"), "no_decline"),
    ],
)  # fmt: skip
def test_only_a_decline_is_called_one(code: str | None, reason: str) -> None:
    assert reason_for_customers(code) == reason
