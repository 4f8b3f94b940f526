"""Event types, statuses and codes of Stripe's that this version does not know."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest
import stripe
from structlog.testing import capture_logs

from caas.external_systems.http import OutcomeUnknownError
from caas.external_systems.payment_gateway import (
    GatewayHint,
    GatewayRefund,
    RefundStatus,
    TransactionStatus,
)
from caas.external_systems.stripe_vocabulary import (
    DISPUTE_STATUS_OF,
    DISPUTES_WITHOUT_MONEY,
    OBJECTS_READ,
    WITHOUT_EFFECT,
    IntentStatus,
    SessionStatus,
)
from caas.external_systems.stripe_webhooks import EVENTS, read_event
from caas.external_systems.unknown_values import unknown_values
from tests.external_systems.stripe_answers import captured_charge, declined_intent, intent
from tests.external_systems.stripe_asked import reported
from tests.external_systems.test_stripe_lookups import finding, of, session
from tests.external_systems.test_stripe_webhooks import event
from tests.simulators.stripe.published_types import words

NEW = "a_word_of_next_year"


@contextmanager
def counting(field: str) -> Iterator[list[int]]:
    """How much the count of a field has grown, once the block is left."""
    grown: list[int] = []
    before = unknown_values()["stripe", field]
    yield grown
    grown.append(unknown_values()["stripe", field] - before)


async def test_a_payment_of_an_unknown_state_is_pending_and_counted() -> None:
    with counting("payment_status") as grown:
        found, _ = await reported(lambda gateway: gateway.find("pi_1"), intent(status=NEW))

    assert found is not None
    assert found.status is TransactionStatus.PENDING
    assert grown == [1]


async def test_another_payment_of_an_unknown_state_hides_no_payment_of_the_customer() -> None:
    other = intent(id="pi_2", status=NEW, metadata={"reference": "pay-2"})

    found, _ = await reported(finding, of(), of(other, intent()), of())

    assert isinstance(found, tuple)
    assert [it.id for it in found] == ["pi_1"]


async def test_a_page_of_an_unknown_state_is_neither_paid_nor_abandoned() -> None:
    with counting("page_status") as grown:
        found, _ = await reported(finding, of(session(status=NEW)), of(), of())

    assert isinstance(found, tuple)
    assert [(it.status, it.is_page) for it in found] == [(TransactionStatus.PENDING, True)]
    assert grown == [1]


async def test_money_captured_in_an_unknown_state_shows_nothing() -> None:
    body = event("payment_intent.succeeded", intent(status=NEW, latest_charge=captured_charge()))

    read = read_event(body)

    assert read is not None
    assert read.subject == GatewayHint(reference="pay-1")


async def test_a_refund_of_an_unknown_state_is_under_way_and_counted() -> None:
    refund = {"id": "re_1", "payment_intent": "pi_1", "amount": 5, "status": NEW}

    with counting("refund_status") as grown:
        read = read_event(event("refund.updated", refund))

    assert read is not None
    assert isinstance(read.subject, GatewayRefund)
    assert read.subject.status is RefundStatus.PENDING
    assert grown == [1]


def test_a_dispute_of_an_unknown_state_has_no_effect_and_is_counted() -> None:
    dispute = {
        "id": "dp_1", "payment_intent": "pi_1", "amount": 5, "currency": "eur", "status": NEW,
    }  # fmt: skip

    with counting("dispute_status") as grown:
        assert read_event(event("charge.dispute.updated", dispute)) is None

    assert grown == [1]


@pytest.mark.parametrize(
    ("type_", "counted"),
    [
        ("payment_intent.reversed", 1),
        ("charge.dispute.appealed", 1),
        ("payment_intent.created", 0),
        ("customer.created", 0),
    ],
)
def test_an_unknown_type_of_event_is_counted_if_its_object_is_read(
    type_: str, counted: int
) -> None:
    with counting("event_type") as grown:
        assert read_event(event(type_, intent())) is None

    assert grown == [counted]


@pytest.mark.parametrize(
    ("code", "shown", "counted"),
    [
        (NEW, "unknown_refusal", 1),
        ("try_again_later", "try_again_later", 0),
        ("insufficient_funds", "insufficient_funds", 0),
    ],
)
async def test_a_refusal_with_an_unknown_code_is_no_decline_and_its_code_is_counted(
    code: str, shown: str, counted: int
) -> None:
    declined = declined_intent(
        status="canceled", last_payment_error={"code": "card_declined", "decline_code": code}
    )

    with counting("decline_code") as grown:
        found, _ = await reported(lambda gateway: gateway.find("pi_1"), declined)

    assert found is not None
    assert (found.status, found.decline_code) == (TransactionStatus.FAILED, shown)
    assert grown == [counted]


def test_an_unknown_value_is_logged_without_a_card_number() -> None:
    with capture_logs() as logs:
        read_event(event("payment_intent.4242424242424242", intent()))

    (line,) = logs
    assert (line["event"], line["gateway"], line["field"]) == (
        "gateway.unknown_value", "stripe", "event_type",
    )  # fmt: skip
    assert "4242424242424242" not in json.dumps(line)


async def test_a_capture_answered_with_an_unknown_state_is_not_believed() -> None:
    with pytest.raises(OutcomeUnknownError):
        await reported(lambda gateway: gateway.capture("pi_1", 12_500, key="k"), intent(status=NEW))


def test_every_published_event_of_an_object_that_is_read_is_known() -> None:
    published = words(stripe._webhook_endpoint, "CreateParams", "enabled_events")

    assert {it for it in published if it.startswith(OBJECTS_READ)} == {*EVENTS, *WITHOUT_EFFECT}


@pytest.mark.parametrize(
    ("module", "name", "known"),
    [
        (stripe._payment_intent, "PaymentIntent", {*IntentStatus} - {IntentStatus.UNKNOWN}),
        (stripe.checkout._session, "Session", {*SessionStatus} - {SessionStatus.UNKNOWN}),
        (stripe._dispute, "Dispute", {*DISPUTE_STATUS_OF, *DISPUTES_WITHOUT_MONEY} - {"prevented"}),
    ],
)
def test_every_published_status_is_known(module: ModuleType, name: str, known: set[str]) -> None:
    assert words(module, name, "status") == known
