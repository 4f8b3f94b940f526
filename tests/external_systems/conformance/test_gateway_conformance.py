"""What every payment gateway must do before money is trusted to it (decisions 1-4).

The cases ask through the port only, so that they hold for every adapter. References are new in
each run: a real gateway remembers.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from caas.external_systems.gateway_requirements import why_unsafe
from caas.external_systems.http import RefusedByPartnerError
from caas.external_systems.payment_gateway import (
    AlreadyCapturedError,
    AlreadyVoidedError,
    CaptureMode,
    GatewayTransaction,
    PaymentGateway,
    RefundStatus,
    TransactionRequest,
    TransactionStatus,
)
from tests.business_day import business_day

AMOUNT = 12_500
CAPTURED = {TransactionStatus.CAPTURING, TransactionStatus.SETTLED}
KEYS_AT_ONCE = 16


def a_request(payment_method: str | None = "pm_ok", **facts: object) -> TransactionRequest:
    """A request under a reference of its own."""
    asked: dict[str, object] = {
        "reference": f"pay-{uuid.uuid4()}",
        "amount": AMOUNT,
        "currency": "EUR",
        "capture": CaptureMode.MANUAL,
        "customer_reference": "customer-1",
        "description": "conformance",
        "payment_method": payment_method,
        "return_url": "https://caas.example/return",
    }
    return TransactionRequest(**(asked | facts))  # type: ignore[arg-type]


def a_key() -> str:
    """A key that was never used."""
    return f"key-{uuid.uuid4()}"


async def authorized(gateway: PaymentGateway, **facts: object) -> GatewayTransaction:
    """A transaction whose funds are held."""
    transaction = await gateway.initiate(a_request(**facts), key=a_key())  # type: ignore[arg-type]
    assert transaction.status is TransactionStatus.AUTHORIZED
    return transaction


async def captured(gateway: PaymentGateway) -> GatewayTransaction:
    """A transaction that is captured, and perhaps settled."""
    transaction = await authorized(gateway)
    return await gateway.capture(transaction.id, AMOUNT, key=a_key())


def test_it_is_safe_for_every_payment_type(gateway: PaymentGateway) -> None:
    assert why_unsafe(gateway.capabilities) == ""


async def test_funds_are_held_and_nothing_is_charged(gateway: PaymentGateway) -> None:
    transaction = await authorized(gateway)

    assert transaction.captured_amount == transaction.settled_amount == 0
    assert transaction.capture_before is not None
    assert transaction.capture_before > datetime.now(UTC)


async def test_automatic_capture_charges_at_once(gateway: PaymentGateway) -> None:
    request = a_request(capture=CaptureMode.AUTOMATIC)

    transaction = await gateway.initiate(request, key=a_key())

    assert transaction.status in CAPTURED
    assert transaction.captured_amount == AMOUNT


@pytest.mark.parametrize(
    ("payment_method", "decline_code"),
    [
        ("pm_declined", "card_declined"),
        ("pm_insufficient_funds", "insufficient_funds"),
        ("pm_invalid", "invalid_card_data"),
    ],
)
async def test_a_decline_is_told_with_its_code_and_stays_told(
    gateway: PaymentGateway, payment_method: str, decline_code: str
) -> None:
    transaction = await gateway.initiate(a_request(payment_method), key=a_key())
    found = await gateway.find(transaction.id)

    assert (transaction.status, transaction.decline_code) == (
        TransactionStatus.FAILED,
        decline_code,
    )
    assert found is not None
    assert (found.status, found.decline_code) == (TransactionStatus.FAILED, decline_code)


@pytest.mark.parametrize("payment_method", [None, "pm_3ds"])
async def test_a_customer_who_must_act_gets_the_gateway_s_own_page(
    gateway: PaymentGateway, payment_method: str | None
) -> None:
    transaction = await gateway.initiate(a_request(payment_method), key=a_key())

    assert transaction.status is TransactionStatus.REQUIRES_ACTION
    assert transaction.hosted_page_url is not None


async def test_a_bank_debit_is_pending_first(gateway: PaymentGateway) -> None:
    transaction = await gateway.initiate(a_request("pm_bank_debit"), key=a_key())

    assert transaction.status is TransactionStatus.PENDING


@pytest.mark.parametrize(("amount", "currency"), [(1, "EUR"), (990, "JPY"), (12_345, "KWD")])
async def test_amounts_are_minor_units_of_every_currency(
    gateway: PaymentGateway, amount: int, currency: str
) -> None:
    transaction = await authorized(gateway, amount=amount, currency=currency)

    assert (transaction.amount, transaction.currency) == (amount, currency)


async def test_the_same_key_initiates_once(gateway: PaymentGateway) -> None:
    request, key = a_request(), a_key()

    first = await gateway.initiate(request, key=key)
    again = await gateway.initiate(request, key=key)

    assert again.id == first.id
    assert (
        len(
            await gateway.find_by_reference(
                request.reference, customer_reference=request.customer_reference
            )
        )
        == 1
    )


async def test_the_same_key_many_times_at_once_initiates_once(gateway: PaymentGateway) -> None:
    request, key = a_request(), a_key()

    ends = await asyncio.gather(
        *(gateway.initiate(request, key=key) for _ in range(KEYS_AT_ONCE)), return_exceptions=True
    )

    ids = {end.id for end in ends if isinstance(end, GatewayTransaction)}
    assert len(ids) == 1
    assert (
        len(
            await gateway.find_by_reference(
                request.reference, customer_reference=request.customer_reference
            )
        )
        == 1
    )


async def test_the_same_key_declines_once(gateway: PaymentGateway) -> None:
    request, key = a_request("pm_declined"), a_key()

    first = await gateway.initiate(request, key=key)
    again = await gateway.initiate(request, key=key)

    assert again == first


async def test_the_same_key_for_another_amount_is_refused(gateway: PaymentGateway) -> None:
    key = a_key()
    await gateway.initiate(a_request(), key=key)

    with pytest.raises(RefusedByPartnerError):
        await gateway.initiate(a_request(amount=AMOUNT + 1), key=key)


async def test_what_was_initiated_is_found_by_id_and_by_reference(gateway: PaymentGateway) -> None:
    request = a_request()
    transaction = await gateway.initiate(request, key=a_key())

    assert await gateway.find(transaction.id) == transaction
    assert await gateway.find_by_reference(
        request.reference, customer_reference=request.customer_reference
    ) == (transaction,)


async def test_what_was_never_initiated_is_told_absent(gateway: PaymentGateway) -> None:
    assert await gateway.find(f"txn_{uuid.uuid4().hex}") is None
    assert await gateway.find_by_reference(f"pay-{uuid.uuid4()}", customer_reference="nobody") == ()


async def test_a_capture_commits_the_charge_once(gateway: PaymentGateway) -> None:
    transaction, key = await authorized(gateway), a_key()

    first = await gateway.capture(transaction.id, AMOUNT, key=key)
    again = await gateway.capture(transaction.id, AMOUNT, key=key)

    assert first.status in CAPTURED
    assert again.captured_amount == first.captured_amount == AMOUNT


async def test_a_second_capture_is_refused_as_already_captured(gateway: PaymentGateway) -> None:
    transaction = await captured(gateway)

    with pytest.raises(AlreadyCapturedError):
        await gateway.capture(transaction.id, AMOUNT, key=a_key())


async def test_a_part_can_be_captured_where_that_is_promised(gateway: PaymentGateway) -> None:
    transaction = await authorized(gateway)
    if not gateway.capabilities.partial_capture:
        return

    partly = await gateway.capture(transaction.id, 1, key=a_key())

    assert (partly.captured_amount, partly.amount) == (1, AMOUNT)


async def test_more_than_is_held_cannot_be_captured(gateway: PaymentGateway) -> None:
    transaction = await authorized(gateway)

    with pytest.raises(RefusedByPartnerError):
        await gateway.capture(transaction.id, AMOUNT + 1, key=a_key())


async def test_a_void_gives_the_funds_back_and_no_capture_follows(gateway: PaymentGateway) -> None:
    transaction, key = await authorized(gateway), a_key()

    voided = await gateway.void(transaction.id, "activation failed", key=key)
    again = await gateway.void(transaction.id, "activation failed", key=key)

    assert voided.status is again.status is TransactionStatus.VOIDED
    with pytest.raises(AlreadyVoidedError):
        await gateway.capture(transaction.id, AMOUNT, key=a_key())


async def test_a_captured_charge_cannot_be_voided(gateway: PaymentGateway) -> None:
    transaction = await captured(gateway)

    with pytest.raises(AlreadyCapturedError):
        await gateway.void(transaction.id, "activation failed", key=a_key())


async def test_of_a_capture_and_a_void_at_once_exactly_one_wins(gateway: PaymentGateway) -> None:
    transaction = await authorized(gateway)

    ends = await asyncio.gather(
        gateway.capture(transaction.id, AMOUNT, key=a_key()),
        gateway.void(transaction.id, "activation failed", key=a_key()),
        return_exceptions=True,
    )

    assert sum(isinstance(end, GatewayTransaction) for end in ends) == 1
    assert sum(isinstance(end, AlreadyVoidedError | AlreadyCapturedError) for end in ends) == 1


async def test_the_same_key_refunds_once(gateway: PaymentGateway) -> None:
    transaction, key = await captured(gateway), a_key()

    first = await gateway.refund(transaction.id, 100, "desistimiento", key=key)
    again = await gateway.refund(transaction.id, 100, "desistimiento", key=key)

    assert again.id == first.id
    assert first.status is not RefundStatus.FAILED
    if gateway.capabilities.lookup_of_refunds:
        assert [it.id for it in await gateway.find_refunds(transaction.id)] == [first.id]


async def test_no_more_is_refunded_than_was_captured(gateway: PaymentGateway) -> None:
    transaction = await captured(gateway)
    await gateway.refund(transaction.id, AMOUNT - 1, "desistimiento", key=a_key())

    with pytest.raises(RefusedByPartnerError):
        await gateway.refund(transaction.id, 2, "desistimiento", key=a_key())


async def test_nothing_is_refunded_that_was_not_captured(gateway: PaymentGateway) -> None:
    transaction = await authorized(gateway)

    with pytest.raises(RefusedByPartnerError):
        await gateway.refund(transaction.id, 1, "desistimiento", key=a_key())


@pytest.mark.parametrize("operation", ["capture", "void", "refund"])
async def test_nothing_is_done_to_a_transaction_that_is_not_there(
    gateway: PaymentGateway, operation: str
) -> None:
    missing = f"txn_{uuid.uuid4().hex}"
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "capture": lambda: gateway.capture(missing, 1, key=a_key()),
        "void": lambda: gateway.void(missing, "activation failed", key=a_key()),
        "refund": lambda: gateway.refund(missing, 1, "desistimiento", key=a_key()),
    }

    with pytest.raises(RefusedByPartnerError) as caught:
        await calls[operation]()

    assert caught.value.status == 404


async def test_the_settlement_report_of_today_adds_up(gateway: PaymentGateway) -> None:
    await captured(gateway)
    today = business_day()

    pages = [await gateway.settlements(today)]
    while pages[-1].next_cursor is not None:
        pages.append(await gateway.settlements(today, pages[-1].next_cursor))

    lines = [line for page in pages for line in page.lines]
    assert not any(page.quarantined for page in pages)
    assert {page.report_id for page in pages} == {pages[0].report_id}
    assert [line.line_no for line in lines] == list(range(1, pages[-1].line_count + 1))
    assert sum(line.gross for line in lines) == pages[-1].gross_total
    assert sum(line.net for line in lines) == pages[-1].net_total


async def test_a_wrong_key_opens_nothing(gateway_with: Callable[[str], PaymentGateway]) -> None:
    stranger = gateway_with("sk_stranger")

    with pytest.raises(RefusedByPartnerError) as caught:
        await stranger.initiate(a_request(), key=a_key())

    assert caught.value.status in {401, 403}
