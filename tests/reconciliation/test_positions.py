"""What decisions leave of a payment is explained, whatever it had come to since they were offered.

A decision posts entries and asks the payment for a step. Where the payment was beyond that step
already, the entries stayed alone: money hung on a clearing account for ever, nothing was open and
every invariant held.
"""

from collections.abc import Sequence
from typing import Any

import pytest

from caas.billing_database.discrepancies import Discrepancy
from caas.billing_database.payments import Payment
from caas.payment_processing.settlement import SettlementNotice
from caas.rules.discrepancies import DiscrepancyKind as Kind
from caas.rules.discrepancies import Resolution
from caas.rules.payment_states import PaymentState
from tests.reconciliation.office import Office
from tests.reconciliation.test_chargebacks_that_came_back import TAKEN, broken
from tests.reconciliation.test_losses_taken_back import PART
from tests.reconciliation.test_money_adds_up import RIGHT, decided, next_day, settled
from tests.reconciliation.test_refunds_of_what_came_after_all import at_gateway, refunded

LOSS, OFF, CLAIM = Resolution.ACCEPT_LOSS, Resolution.WRITE_OFF, Resolution.CLAIM_FROM_GATEWAY
AGAIN, ENTRY = Resolution.REINSTATE_THE_PAYMENT, Resolution.CORRECT_BY_ENTRY
FAILED = {"type": "settlement_failure", "gross": -1299, "fee": 0}
BALANCES = """
select account, sum(amount)::bigint as amount from ledger_lines where account not like
  'authorized_holds%' group by account having sum(amount) <> 0
"""


def of(amount: int, type_: str = "settlement") -> dict[str, Any]:
    """Return a line, with the agreed fee where it settles."""
    fee = 25 + (amount * 14 + 500) // 1000 if type_ == "settlement" else 0
    return {"type": type_, "gross": amount, "fee": fee}


async def ledger(office: Office) -> dict[str, int]:
    """Return what stands on each account but the revenue, its tax and fees; losses are one sum."""
    found: dict[str, int] = {}
    for row in await office.installation.database.fetch(BALANCES):
        account = "loss" if row["account"].startswith("risk_loss:") else row["account"]
        if account in {"gateway_fees", "bank"}:
            account = "bank"
        if account not in {"service_revenue", "customer_deposits", "output_vat"}:
            found[account] = found.get(account, 0) + row["amount"]
    return {account: amount for account, amount in found.items() if amount}


async def is_(office: Office, **expected: int) -> None:
    """Check the balances; nothing else stands anywhere, and no invariant is violated."""
    assert await ledger(office) == expected
    assert await broken(office.installation.database) == set()


async def fails(office: Office, payment: Payment) -> None:
    """Let the webhook of a failed settlement come."""
    notice = SettlementNotice(
        settlement_id="f", settled=False, settled_amount=0, currency=payment.currency
    )
    processing = office.installation.platform.payment_processing
    await processing.record_settlement(payment.id, notice)
    await office.installation.rest()


async def open_(office: Office, found: Discrepancy) -> None:
    """Reopen a decision."""
    await office.reconciliation.investigation.reopen(found.id, note="Look.", by="Luis")


async def given_up(office: Office, resolution: Resolution = OFF) -> tuple[Payment, Discrepancy]:
    """Settle a payment for less, and give up the rest."""
    payment = await office.capturing()
    await next_day(office, payment, PART)
    return payment, await decided(office, Kind.PARTIAL_SETTLEMENT, resolution)


async def reinstated(office: Office, *parts: int) -> Payment:
    """Let the settlement of a payment fail, and its money come after all."""
    payment = await settled(office)
    await fails(office, payment)
    await next_day(office, payment, FAILED)
    for part in parts:
        await next_day(office, payment, of(part))
        await decided(office, Kind.STATE_CONFLICT, AGAIN)
    return payment


@pytest.mark.parametrize("resolution", [LOSS, CLAIM])
async def test_what_was_reinstated_and_taken_back_is_lost_or_claimed(
    office: Office, resolution: Resolution
) -> None:
    payment = await reinstated(office, 1299)
    await is_(office, bank=1299)

    await next_day(office, payment, FAILED)
    found = await decided(office, Kind.FAILED_SETTLEMENT, resolution)

    taken = {"loss" if resolution is LOSS else "gateway_claims": 1299}
    await is_(office, **taken)
    await open_(office, found)
    assert await broken(office.installation.database) == set()
    await decided(office, Kind.FAILED_SETTLEMENT, resolution)
    await is_(office, **taken)


async def test_what_was_reinstated_in_parts_and_taken_back_is_lost(office: Office) -> None:
    payment = await reinstated(office, 700, 700)
    await is_(office, bank=1400, unexplained_funds=-101)

    await next_day(office, payment, of(-700, "settlement_failure"))
    await decided(office, Kind.FAILED_SETTLEMENT, LOSS)
    await is_(office, bank=700, loss=700, unexplained_funds=-101)
    await next_day(office, payment, of(-700, "settlement_failure"))
    await decided(office, Kind.FAILED_SETTLEMENT, LOSS)

    await is_(office, loss=1400, unexplained_funds=-101)


async def test_what_was_taken_back_can_come_again(office: Office) -> None:
    payment = await reinstated(office, 1299)
    await next_day(office, payment, FAILED)
    await decided(office, Kind.FAILED_SETTLEMENT, LOSS)

    await next_day(office, payment, of(1299))
    await decided(office, Kind.STATE_CONFLICT, AGAIN)

    await is_(office, bank=1299)


async def test_a_day_that_is_sealed_is_corrected_on_the_next(office: Office) -> None:
    payment = await reinstated(office, 1299)
    await next_day(office, payment, of(-500, "settlement_failure"))
    await decided(office, Kind.FAILED_SETTLEMENT, LOSS)
    await is_(office, bank=799, loss=500)
    for row in await office.installation.database.fetch(
        "select day from reconciliation_days where sealed_at is null order by day"
    ):
        await office.reconciliation.seal(row["day"], by="Luis")

    await next_day(office, payment, of(-799, "settlement_failure"))
    await decided(office, Kind.FAILED_SETTLEMENT, LOSS)

    await is_(office, loss=1299)


@pytest.mark.parametrize("again", [OFF, LOSS, CLAIM])
async def test_a_part_that_is_given_up_twice_is_lost_once(
    office: Office, again: Resolution
) -> None:
    payment, found = await given_up(office)
    await fails(office, payment)
    await next_day(office, payment, of(-900, "settlement_failure"))
    await is_(office, loss=1299)

    await open_(office, found)
    assert await ledger(office) == {"loss": 1299}
    await decided(office, Kind.PARTIAL_SETTLEMENT, again)

    if again is CLAIM:
        await is_(office, loss=900, gateway_claims=399)
    else:
        await is_(office, loss=1299)


async def test_a_part_is_given_up_twice_beside_a_claim(office: Office) -> None:
    payment, found = await given_up(office)
    await next_day(office, payment, of(-900, "settlement_failure"))
    await decided(office, Kind.FAILED_SETTLEMENT, CLAIM)
    await fails(office, payment)
    await is_(office, loss=399, gateway_claims=900)

    await open_(office, found)
    await decided(office, Kind.PARTIAL_SETTLEMENT, LOSS)

    await is_(office, loss=399, gateway_claims=900)


@pytest.mark.parametrize(("gross", "left"), [(0, 0), (-200, 200)])
async def test_a_failure_that_took_less_costs_no_more(
    office: Office, gross: int, left: int
) -> None:
    payment = await settled(office)

    await next_day(office, payment, of(gross, "settlement_failure"))
    await decided(office, Kind.FAILED_SETTLEMENT, LOSS)

    assert (await office.payment(payment)).state is PaymentState.SETTLEMENT_FAILED
    expected = {"bank": 1299 - left, "loss": left}
    await is_(office, **{name: amount for name, amount in expected.items() if amount})
    await next_day(office, payment, of(-1299 - gross, "settlement_failure"))
    await is_(office, loss=1299)


@pytest.mark.parametrize("kept", [OFF, ENTRY, AGAIN])
async def test_a_line_of_too_much_brings_what_was_given_up_meanwhile(
    office: Office, kept: Resolution
) -> None:
    payment = await office.capturing()
    await next_day(office, payment, of(799))
    await next_day(office, payment, of(1299))
    await decided(office, Kind.PARTIAL_SETTLEMENT, LOSS)

    await decided(office, Kind.AMOUNT, kept)

    rest = {
        OFF: {"unallocated_income": -799},
        ENTRY: {"unexplained_funds": -799},
        AGAIN: {"unexplained_funds": -799},
    }
    await is_(office, bank=2098, **rest[kept])


@pytest.mark.parametrize("first", [None, CLAIM])
async def test_a_line_of_too_much_ends_what_waited_for_its_money(
    office: Office, first: Resolution | None
) -> None:
    payment = await office.capturing()
    await next_day(office, payment, of(799))
    await next_day(office, payment, of(1299))
    if first is not None:
        await decided(office, Kind.PARTIAL_SETTLEMENT, first)

    await decided(office, Kind.AMOUNT, OFF)

    assert set(await office.kinds()) <= {Kind.FEE_DRIFT}
    assert (await office.payment(payment)).state is PaymentState.SETTLED
    await is_(office, bank=2098, unallocated_income=-799)


async def test_a_line_of_too_much_is_decided_after_the_settlement_failed(office: Office) -> None:
    payment = await office.capturing()
    await next_day(office, payment, of(779))
    await next_day(office, payment, of(2000))
    await decided(office, Kind.PARTIAL_SETTLEMENT, LOSS)
    await fails(office, payment)
    await next_day(office, payment, of(-779, "settlement_failure"))

    await decided(office, Kind.AMOUNT, OFF)
    await decided(office, Kind.FAILED_SETTLEMENT, LOSS)

    await is_(office, bank=2000, loss=779, unallocated_income=-1480)


@pytest.mark.parametrize("resolution", [LOSS, CLAIM])
async def test_only_what_no_refund_explains_is_lost_or_claimed(
    office: Office, resolution: Resolution
) -> None:
    payment = await refunded_payment(office, 1299)
    await next_day(office, payment, of(-799, "refund"))
    await next_day(office, payment, of(-1299, "refund"))

    found = await decided(office, Kind.REFUND_MISMATCH, resolution)

    assert found.amount == 799
    taken = {"loss" if resolution is LOSS else "gateway_claims": 799}
    assert await office.balance("settled_funds") == 0
    losses = {k: v for k, v in (await ledger(office)).items() if k in {"loss", "gateway_claims"}}
    assert losses == taken
    assert await broken(office.installation.database) == set()


async def refunded_payment(office: Office, *amounts: int) -> Payment:
    """Refund a payment that is settled; the gateway does not list it by itself."""
    payment = await office.bought()
    await next_day(office, payment, RIGHT)
    at_gateway(office, payment)
    payment = await refunded(office, payment, *amounts)
    await office.forget_lines_of("refund")
    return payment


async def test_what_was_refunded_before_it_was_taken_back_can_come_after_all(
    office: Office,
) -> None:
    payment = await refunded_payment(office, 500)
    await next_day(office, payment, of(-500, "refund"))
    await fails(office, payment)
    await next_day(office, payment, FAILED)
    assert (await ledger(office))["loss"] == 1299

    await next_day(office, payment, of(1299))
    await decided(office, Kind.STATE_CONFLICT, AGAIN)

    assert await ledger(office) == {"bank": 799}
    at_gateway(office, payment)
    payment = await refunded(office, payment, 799)
    assert payment.state is PaymentState.REFUNDED


async def test_what_was_refunded_in_full_and_taken_back_can_come_after_all(
    office: Office,
) -> None:
    payment = await refunded_payment(office, 1299)
    await next_day(office, payment, of(-1299, "refund"))
    await fails(office, payment)
    await next_day(office, payment, FAILED)
    for found in await office.found(unresolved=True):
        await decided(office, found.kind, LOSS)
    assert await ledger(office) == {"bank": -1299, "loss": 1299}

    await next_day(office, payment, of(1299))
    [found] = await office.found(unresolved=True)
    await decided(office, found.kind, AGAIN)

    await is_(office)


async def test_a_reinstated_line_is_decided_again_after_a_refund_was_tried(
    office: Office,
) -> None:
    payment = await office.installation.settled("pm_refund_fails")
    await office.closed()
    await fails(office, payment)
    await next_day(office, payment, FAILED)
    await next_day(office, payment, of(1299))
    found = await decided(office, Kind.STATE_CONFLICT, AGAIN)
    processing = office.installation.platform.payment_processing
    await processing.refund_payment(
        payment.id, amount=500, reason="goodwill", key="x", requested_by="ops", term="keep"
    )
    await office.installation.gateway_does("settle")
    await office.installation.until(payment.id, lambda p: p.state is PaymentState.SETTLED)
    await office.forget_lines_of("refund")

    await open_(office, found)
    seen = await office.reconciliation.investigation.check(found.id)

    assert {AGAIN, ENTRY} <= set(seen.allowed)
    await decided(office, Kind.STATE_CONFLICT, AGAIN)
    await is_(office, bank=1299)


async def test_a_claim_of_a_failure_that_never_came_leaves_its_loss(office: Office) -> None:
    payment = await office.capturing()
    await next_day(office, payment, TAKEN | {"gross": -300})
    await decided(office, Kind.CHARGEBACK, LOSS)
    await fails(office, payment)
    before = await ledger(office)

    await next_day(office, payment, of(-500, "settlement_failure"))
    await decided(office, Kind.FAILED_SETTLEMENT, CLAIM)

    after = await ledger(office)
    assert after == before | {"gateway_claims": 500, "bank": before.get("bank", 0) - 500}
    assert await broken(office.installation.database) == set()


async def test_balancing_twice_posts_nothing(office: Office) -> None:
    payment = await reinstated(office, 1299)
    await next_day(office, payment, FAILED)
    found = await decided(office, Kind.FAILED_SETTLEMENT, LOSS)
    before = await entries(office)

    await next_day(office, payment)
    await office.reconciliation.reconcile(found.day)

    assert await entries(office) == before


async def entries(office: Office) -> Sequence[Any]:
    """Return all entries of decisions."""
    return await office.installation.database.fetch(
        "select discrepancy_id, debit, credit, amount from discrepancy_entries order by id"
    )
