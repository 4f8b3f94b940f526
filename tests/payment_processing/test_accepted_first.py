"""A gateway that accepts captures and voids first, and decides them later (decision 198)."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import asyncpg
import pytest
from msgspec.structs import replace

from caas.billing_database.connection import Database
from caas.billing_database.identifiers import new_id
from caas.billing_database.payments import Payment
from caas.billing_database.webhook_inbox import Incoming, WebhookInbox
from caas.payment_processing.outgoing_money import APPLY_WEBHOOK
from caas.rules.payment_states import PaymentState, Remark
from caas_simulators.vehicle_car import Behaviour, Manner
from tests.installation import (
    PATIENCE_SECONDS,
    TIME_SCALE,
    VIN,
    Installation,
    quick_gateway,
    standing,
)

DECIDED_SECONDS = 36_000.0
"""How long this gateway takes: longer than a test at its scale, unless its clock is moved."""


@asynccontextmanager
async def accepting_first(
    database: Database,
) -> AsyncIterator[Installation]:
    """An installation with a car, whose gateway decides later."""
    settings = quick_gateway(TIME_SCALE)
    settings.terms = replace(settings.terms, modification_seconds=DECIDED_SECONDS)
    async with standing(database, settings=settings) as installation:
        await installation.car()
        await installation.offer_heated_seats()
        yield installation


async def remarks(installation: Installation, payment: Payment) -> list[str]:
    """Every event of a payment."""
    events = await installation.platform.tables.payments.timeline(payment.id)
    return [event.event for event in events]


async def accepted(installation: Installation, payment: Payment, operation: str) -> str:
    """Wait until the gateway has accepted an operation; return the id under which it did."""
    found: list[str] = []

    async def is_accepted() -> bool:
        events = await installation.platform.tables.payments.timeline(payment.id)
        found.extend(
            str(event.facts["accepted_as"])
            for event in events
            if event.source.startswith(f"accepted:{operation}:")
        )
        return bool(found)

    await eventually(installation, is_accepted)
    return found[-1]


async def eventually(installation: Installation, holds: Callable[[], Awaitable[bool]]) -> None:
    """Let jobs run until something holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await holds():
            await installation.platform.jobs.run_due()
            await asyncio.sleep(0.005)


async def capture_is_accepted(installation: Installation, payment: Payment) -> None:
    """Wait until the gateway has captured, as far as the platform knows."""

    async def is_accepted() -> bool:
        return Remark.CAPTURE_ACCEPTED in await remarks(installation, payment)

    await eventually(installation, is_accepted)


async def keys_of(installation: Installation, operation: str) -> list[str]:
    """The keys under which the gateway was asked for an operation."""
    url = f"{installation.gateway_url}/_control/ledger"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        calls = (await answer.json())["calls"]
    return sorted(call["key"] for call in calls if call["operation"] == operation)


async def no_lookups(installation: Installation) -> None:
    """From now on the gateway answers no lookup: only its reports tell."""
    await installation.gateway_does("faults", match={"operation": "find"}, action={"status": 503})


async def decides(installation: Installation) -> None:
    """Let the gateway decide what it has accepted."""
    await installation.gateway_does("advance", seconds=DECIDED_SECONDS)


async def reports(installation: Installation, type_: str, **data: object) -> None:
    """Let a webhook of the gateway come, and be applied."""
    event = f"evt_{new_id().hex}"
    body = {"id": event, "type": type_, "occurred_at": "2026-11-28T10:00:00Z", "data": data}
    text = json.dumps(body)
    digest = hashlib.sha256(text.encode()).digest()
    await WebhookInbox(installation.database).store(
        Incoming(gateway="contract", event_id=event, body_hash=digest, body=text,
                 job_kind=APPLY_WEBHOOK)
    )  # fmt: skip


async def refuses(installation: Installation, payment: Payment, operation: str, code: str) -> None:
    """Let the gateway report that what it accepted is refused."""
    await reports(
        installation, f"{operation}.refused", id=await accepted(installation, payment, operation),
        transaction_id=payment.gateway_transaction_id, reference=str(payment.id), code=code,
    )  # fmt: skip


async def capturing(installation: Installation) -> Payment:
    """A payment whose capture was accepted, and is not decided."""
    payment = await installation.buys()
    await installation.until(payment.id, lambda p: p.state is PaymentState.CAPTURING)
    await accepted(installation, payment, "capture")
    return await installation.platform.tables.payments.get(payment.id)


async def voiding(installation: Installation) -> Payment:
    """A payment whose void was accepted, and is not decided."""
    installation.fleet.add(VIN, Manner(Behaviour.REFUSES))
    payment = await installation.buys()
    await accepted(installation, payment, "void")
    return await installation.platform.tables.payments.get(payment.id)


async def test_an_accepted_capture_is_asked_about_until_the_gateway_has_decided(
    database: Database,
) -> None:
    async with accepting_first(database) as installation:
        payment = await capturing(installation)
        before = await remarks(installation, payment)
        await decides(installation)
        await installation.until(payment.id, lambda p: p.state is PaymentState.CAPTURING)
        await capture_is_accepted(installation, payment)
        await installation.gateway_does("settle")
        settled = await installation.until(payment.id, lambda p: p.state is PaymentState.SETTLED)
        keys = await keys_of(installation, "capture")

    assert Remark.CAPTURE_ACCEPTED not in before
    assert (payment.state, payment.outcome) == (PaymentState.CAPTURING, "known")
    assert settled.settled_amount == payment.amount
    assert keys == [f"{payment.id}:capture"]


async def test_a_reported_capture_is_accepted_without_a_lookup(database: Database) -> None:
    async with accepting_first(database) as installation:
        payment = await capturing(installation)
        await no_lookups(installation)

        await reports(
            installation, "transaction.capturing", id=payment.gateway_transaction_id,
            reference=str(payment.id), status="capturing", amount=payment.amount, currency="EUR",
            captured_amount=payment.amount, settled_amount=0, refunded_amount=0,
            created_at="2026-11-28T10:00:00Z",
        )  # fmt: skip
        await capture_is_accepted(installation, payment)

        after = await installation.platform.tables.payments.get(payment.id)
    assert (after.state, after.outcome) == (PaymentState.CAPTURING, "known")


@pytest.mark.parametrize("code", ["authorization_expired", "already_voided", "already_failed"])
async def test_a_capture_that_is_refused_later_is_a_loss_and_charges_nobody(
    database: Database, code: str
) -> None:
    async with accepting_first(database) as installation:
        payment = await capturing(installation)
        await no_lookups(installation)

        await refuses(installation, payment, "capture", code)
        lost = await installation.until(
            payment.id, lambda p: p.state is PaymentState.SETTLEMENT_FAILED
        )
        cases = await installation.platform.tables.cases.listed(subject=payment.id)
        keys = await keys_of(installation, "capture")

    assert lost.settled_amount == 0
    assert "capture_refused" in [case.kind for case in cases]
    assert keys == [f"{payment.id}:capture"]


async def test_a_capture_that_was_done_before_counts_as_captured(database: Database) -> None:
    async with accepting_first(database) as installation:
        payment = await capturing(installation)
        await no_lookups(installation)

        await refuses(installation, payment, "capture", "already_captured")
        await capture_is_accepted(installation, payment)

        after = await installation.platform.tables.payments.get(payment.id)
    assert after.state is PaymentState.CAPTURING


async def test_a_refusal_that_decides_nothing_is_followed_by_another_request(
    database: Database,
) -> None:
    async with accepting_first(database) as installation:
        payment = await capturing(installation)
        await no_lookups(installation)

        await refuses(installation, payment, "capture", "acquirer_error")

        async def is_sent_again() -> bool:
            return len(await keys_of(installation, "capture")) > 1

        await eventually(installation, is_sent_again)
        keys = await keys_of(installation, "capture")
        cases = await installation.platform.tables.cases.listed(subject=payment.id)
        after = await installation.platform.tables.payments.get(payment.id)

    assert keys == [f"{payment.id}:capture", f"{payment.id}:capture:2"]
    assert "gateway_refuses" in [case.kind for case in cases]
    assert after.state is PaymentState.CAPTURING


async def test_an_accepted_void_holds_the_claim_until_it_is_decided(database: Database) -> None:
    async with accepting_first(database) as installation:
        payment = await voiding(installation)
        await decides(installation)
        voided = await installation.until(payment.id, lambda p: p.state is PaymentState.VOIDED)
        keys = await keys_of(installation, "void")
        captures = await keys_of(installation, "capture")

    assert (payment.state, payment.outcome) == (PaymentState.AUTHORIZED, "known")
    assert (voided.captured_amount, captures) == (0, [])
    assert keys == [f"{payment.id}:void"]


async def test_a_void_that_is_refused_because_the_funds_expired_is_a_void(
    database: Database,
) -> None:
    async with accepting_first(database) as installation:
        payment = await voiding(installation)
        await no_lookups(installation)

        await refuses(installation, payment, "void", "authorization_expired")
        await installation.until(payment.id, lambda p: p.state is PaymentState.VOIDED)


async def test_a_void_that_lost_against_a_capture_is_refunded(database: Database) -> None:
    async with accepting_first(database) as installation:
        payment = await voiding(installation)
        assert payment.gateway_transaction_id is not None
        world = installation.gateway
        world.transactions.capture(world.store.booking(payment.gateway_transaction_id), None)

        await refuses(installation, payment, "void", "already_captured")
        await installation.until(payment.id, lambda p: p.state is PaymentState.VOIDED)
        booking = world.store.booking(payment.gateway_transaction_id)

        async def is_refunded() -> bool:
            return bool(booking.refund_ids)

        await eventually(installation, is_refunded)

    refunded = [world.store.refunds[one].refund.amount for one in booking.refund_ids]
    assert refunded == [payment.amount]


async def test_what_is_never_reported_is_unknown_after_its_lookups_and_still_resolved(
    database: Database, database_dsn: str
) -> None:
    owner = await asyncpg.connect(database_dsn)
    async with accepting_first(database) as installation:
        payment = await capturing(installation)
        await no_lookups(installation)

        async def is_unknown() -> bool:
            await owner.execute("update caas.clock set moved = moved + interval '1 minute'")
            return (
                await installation.platform.tables.payments.get(payment.id)
            ).outcome == "unknown"

        await eventually(installation, is_unknown)
        unknown = await installation.platform.tables.payments.get(payment.id)
        cases = await installation.platform.tables.cases.listed(subject=payment.id)
        async with (
            aiohttp.ClientSession() as session,
            session.delete(f"{installation.gateway_url}/_control/faults"),
        ):
            await decides(installation)

        known = await installation.until(payment.id, lambda p: p.outcome == "known")
    await owner.close()
    booking = installation.gateway.store.booking(str(payment.gateway_transaction_id))
    assert unknown.state is known.state is PaymentState.CAPTURING
    assert [case.kind for case in cases] == ["gateway_outcome_unknown"]
    assert booking.captures == 1


async def test_a_refusal_of_what_is_over_changes_nothing(database: Database) -> None:
    async with accepting_first(database) as installation:
        payment = await voiding(installation)
        await decides(installation)
        await installation.until(payment.id, lambda p: p.state is PaymentState.VOIDED)
        before = await remarks(installation, payment)

        await refuses(installation, payment, "void", "already_captured")
        await installation.rest()

        assert await remarks(installation, payment) == before
