"""Which gateways may be used for which payment types, and whose transaction it is."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from caas.external_systems.gateway_requirements import why_unsafe
from caas.external_systems.payment_gateway import (
    Capabilities,
    CaptureMode,
    GatewayTransaction,
    TransactionRequest,
    TransactionStatus,
    mismatches,
)
from caas.external_systems.seed_contract_gateway import CAPABILITIES
from caas.rules.payment_types import PaymentType

EVERY_TYPE = [str(payment_type) for payment_type in PaymentType]


def types_in(reported: str) -> set[str]:
    """The payment types that the sentence speaks of."""
    reasons = reported.split("; ") if reported else []
    return {name for reason in reasons for name in reason.partition(" payment: ")[0].split(", ")}


def test_the_seed_contract_is_safe_for_every_payment_type() -> None:
    assert why_unsafe(CAPABILITIES) == ""


@pytest.mark.parametrize(
    ("lacking", "unsafe"),
    [
        ({"separate_capture": False}, {"service", "subscription"}),
        ({"void": False}, set(EVERY_TYPE)),
        ({"hosted_page": False}, set(EVERY_TYPE)),
        ({"merchant_initiated": False}, {"subscription"}),
        ({"authorization_lifetime": timedelta(minutes=59)}, {"service"}),
        ({"lookup_by_reference": False, "idempotency_key_lifetime": None}, set(EVERY_TYPE)),
        (
            {"lookup_by_reference": False, "idempotency_key_lifetime": timedelta(hours=23)},
            set(EVERY_TYPE),
        ),
        ({"refund": False}, set()),
        ({"partial_capture": False}, set()),
        ({"lookup_by_reference": False}, set()),
        ({"idempotency_key_lifetime": None}, set()),
    ],
)
def test_what_a_gateway_lacks_makes_exactly_these_types_unsafe(
    lacking: dict[str, object], unsafe: set[str]
) -> None:
    reported = why_unsafe(replace(CAPABILITIES, **lacking))

    assert types_in(reported) == unsafe


def test_a_gateway_that_can_do_nothing_is_told_every_reason() -> None:
    nothing = Capabilities(
        separate_capture=False,
        void=False,
        partial_capture=False,
        refund=False,
        lookup_by_reference=False,
        lookup_of_refunds=False,
        idempotency_key_lifetime=None,
        authorization_lifetime=timedelta(0),
    )

    reported = why_unsafe(nothing)

    assert len(reported.split("; ")) == 5
    assert "before the vehicle has confirmed" in reported


def test_a_reason_is_sent_once_with_every_type_it_is_about() -> None:
    lacking = replace(CAPABILITIES, lookup_by_reference=False, idempotency_key_lifetime=None)

    reported = why_unsafe(lacking)

    assert reported.startswith(
        "reservation, final, service, subscription payment: after a time-out"
    )
    assert reported.count("it needs lookup by reference, or keys") == 1


@pytest.mark.parametrize(
    ("facts", "different"),
    [
        ({}, []),
        ({"reference": "pay-2"}, ["reference 'pay-2', not 'pay-1'"]),
        ({"amount": 1}, ["amount 1, not 100"]),
        ({"currency": "USD"}, ["currency 'USD', not 'EUR'"]),
    ],
)
def test_a_transaction_is_compared_with_its_payment(
    facts: dict[str, object], different: list[str]
) -> None:
    transaction = GatewayTransaction(
        id="txn_1",
        reference="pay-1",
        status=TransactionStatus.SETTLED,
        amount=100,
        currency="EUR",
    )

    reported = replace(transaction, **facts)

    assert mismatches(reported, reference="pay-1", amount=100, currency="EUR") == different


@pytest.mark.parametrize(
    "facts", [{"amount": 0}, {"amount": -1}, {"currency": "EURO"}, {"reference": ""}]
)
def test_a_request_that_no_gateway_should_see_cannot_be_made(facts: dict[str, object]) -> None:
    request = TransactionRequest(
        reference="pay-1",
        amount=100,
        currency="EUR",
        capture=CaptureMode.MANUAL,
        customer_reference="customer-1",
        description="",
    )

    with pytest.raises(AssertionError):
        replace(request, **facts)
