"""What lines, decisions and payments move on settled funds adds up, whatever came first.

An accountant decided copies, wrong amounts and debits, and let more lines come. Each time the day
closed, every invariant held, and money stood on settled funds that nobody would ever look for.
"""

from pathlib import Path
from typing import Any

import pytest

from caas.billing_database.discrepancies import Discrepancy
from caas.billing_database.payments import Payment
from caas.payment_processing.disputes import Disputes
from caas.reconciliation import Reconciled
from caas.reconciliation.validation import (
    RefundMadeError,
    RefundOnItsWayError,
    ResolutionNotAllowedError,
)
from caas.rules.discrepancies import DiscrepancyKind as Kind
from caas.rules.discrepancies import Resolution
from caas.rules.payment_states import PaymentState
from tests.people import COMMAND_LINE
from tests.reconciliation.office import Office
from tests.reconciliation.test_provider_files import ADYEN_HEADER

TWICE = [Resolution.WRITE_OFF, Resolution.CORRECT_BY_ENTRY]
RIGHT, WRONG = {"gross": 1299}, {"gross": 2299, "fee": 57}
DEBIT = {"gross": -1299, "fee": 0}
REFUND = {"type": "refund", "gross": -300, "fee": 0, "batch_id": "b"}


async def settled(office: Office) -> Payment:
    """Make a payment that is settled, with its line."""
    payment = await office.capturing()
    await next_day(office, payment, RIGHT)
    return await office.payment(payment)


async def next_day(office: Office, payment: Payment, *lines: dict[str, Any]) -> Reconciled:
    """Let another day's report hold these lines of a payment."""
    await office.days_pass(1)
    for line in lines:
        await office.line(payment, **line)
    return await office.closed()


def columns(amount: int) -> str:
    """Write an amount as debit and credit."""
    text = f"{abs(amount) / 100:.2f}"
    return f",{text}" if amount > 0 else f"{text},"


async def by_file(
    office: Office, folder: Path, payment: Payment, *rows: tuple[str, int]
) -> Reconciled:
    """Reconcile another day by a file of Adyen with these rows of a payment."""
    await office.days_pass(1)
    begin, batch = "CaaS,CaaSES", f"{office.today:%Y%m%d}"
    who = f"{payment.gateway_transaction_id},{payment.id},visa"
    lines = [ADYEN_HEADER]
    for n, (type_, amount) in enumerate(rows):
        value = columns(amount)
        lines.append(
            f"{begin},{who},{office.today} 11:00:0{n},CET,{type_},mod_{batch}{n},EUR,{value},1,"
            f"EUR,{value},,,,,visacredit,,{batch},"
        )
    carried = columns(-sum(amount for _, amount in rows))
    lines.append(
        f"{begin},,,,{office.today} 12:00:00,CET,Balancetransfer,x,,,,,EUR,{carried},,,,,,,{batch},"
    )
    path = folder / f"{batch}.csv"
    path.write_text("\n".join(lines) + "\n")
    return await office.reconciliation.reconcile(office.today, file=path)


async def decided(office: Office, kind: Kind, resolution: Resolution) -> Discrepancy:
    """Decide the one open discrepancy of a kind."""
    [found] = await office.found(unresolved=True, kind=kind)
    return await office.reconciliation.investigation.resolve(
        found.id, resolution=resolution, note="Seen.", by=COMMAND_LINE
    )


@pytest.mark.parametrize("resolution", TWICE)
async def test_a_copy_is_a_copy_though_another_was_decided(
    office: Office, resolution: Resolution
) -> None:
    payment = await office.capturing()
    copy = RIGHT | {"booked_at": f"{office.today}T08:00:00Z", "batch_id": "b"}
    first = await next_day(office, payment, copy, copy)
    await decided(office, Kind.DUPLICATE_LINE, resolution)

    second = await next_day(office, payment, copy)
    third = await next_day(office, payment, RIGHT)

    assert first.run.counts.get("duplicate_line") == 1
    assert second.run.counts == {"duplicate_line": 1}
    assert third.run.counts == {"duplicate_line": 1}
    assert await office.balance("settled_funds") == 0


async def test_a_copy_of_a_refund_is_a_copy_though_others_were_decided(office: Office) -> None:
    payment = await office.installation.settled()
    await office.closed()
    await office.refund_order(payment, 300)
    await office.forget_lines_of("refund")
    copy = REFUND | {"booked_at": f"{office.today}T08:00:00Z"}
    await next_day(office, payment, copy, copy)
    await decided(office, Kind.DUPLICATE_LINE, Resolution.CORRECT_BY_ENTRY)
    another = copy | {"booked_at": f"{office.today}T09:00:00Z"}
    assert (await next_day(office, payment, another)).run.counts == {"refund_mismatch": 1}
    await decided(office, Kind.REFUND_MISMATCH, Resolution.CORRECT_BY_ENTRY)

    for last in (copy, copy | {"booked_at": f"{office.today}T10:00:00Z"}):
        done = await next_day(office, payment, last)
        assert done.run.counts.get("matched") is None
    assert await office.balance("settled_funds") == 0


async def test_a_line_keeps_its_verdict_while_nothing_else_happens(office: Office) -> None:
    payment = await office.capturing()
    await next_day(office, payment, WRONG)
    first = await next_day(office, payment, RIGHT)

    again = await office.reconciliation.reconcile(office.today)

    assert first.run.counts == {"duplicate_line": 1}
    assert again.run.counts == {}
    assert await office.kinds() == [Kind.AMOUNT, Kind.DUPLICATE_LINE]
    await decided(office, Kind.AMOUNT, Resolution.CORRECT_BY_ENTRY)
    await office.reconciliation.reconcile(office.today)
    await decided(office, Kind.DUPLICATE_LINE, Resolution.CORRECT_BY_ENTRY)
    assert (await office.payment(payment)).state is PaymentState.SETTLED
    assert await office.balance("settled_funds") == 0
    assert await office.balance("unexplained_funds") == -2299


@pytest.mark.parametrize("first", ["debit", "settlement"])
@pytest.mark.parametrize("resolution", [None, Resolution.CORRECT_BY_ENTRY, Resolution.WRITE_OFF])
async def test_a_debit_takes_nothing_from_what_settles_the_payment(
    office: Office, first: str, resolution: Resolution | None
) -> None:
    payment = await office.capturing()
    lines = [DEBIT, RIGHT] if first == "debit" else [RIGHT, DEBIT]
    for line in lines:
        await next_day(office, payment, line)
        if resolution is not None and line is DEBIT:
            await decided(office, Kind.AMOUNT, resolution)

    after = await office.payment(payment)
    assert (after.state, after.settled_amount) == (PaymentState.SETTLED, 1299)
    assert await office.kinds() == ([Kind.AMOUNT] if resolution is None else [])
    assert await office.balance("settled_funds") == 0


async def test_a_debit_and_its_settlement_in_one_report_are_in_no_order(office: Office) -> None:
    for lines in ([DEBIT, RIGHT], [RIGHT, DEBIT]):
        payment = await office.capturing()
        done = await next_day(office, payment, *lines)
        assert (done.run.counts["matched"], done.run.counts["amount"]) == (1, 1)
        assert (await office.payment(payment)).state is PaymentState.SETTLED


async def test_a_payment_settled_twice_with_a_debit_between_them_has_a_copy(
    office: Office,
) -> None:
    payment = await office.capturing()
    await next_day(office, payment, RIGHT)
    await next_day(office, payment, DEBIT)
    await decided(office, Kind.AMOUNT, Resolution.CORRECT_BY_ENTRY)

    done = await next_day(office, payment, RIGHT)

    assert done.run.counts == {"duplicate_line": 1}
    assert await office.balance("settled_funds") == 0


async def test_the_rest_of_a_payment_that_was_settled_for_less_is_not_matched(
    office: Office,
) -> None:
    payment = await office.capturing()
    await next_day(office, payment, {"gross": 500, "fee": 32})
    await decided(office, Kind.PARTIAL_SETTLEMENT, Resolution.ACCEPT_LOSS)

    await next_day(office, payment, {"gross": 799, "fee": 36})

    [found] = await office.found(unresolved=True)
    assert (found.kind, found.amount) == (Kind.AMOUNT, 799)
    await decided(office, Kind.AMOUNT, Resolution.CORRECT_BY_ENTRY)
    assert await office.balance("settled_funds") == 0
    assert await office.balance("unexplained_funds") == -799


async def test_a_refund_we_did_not_make_that_came_back_explains_itself(
    office: Office, tmp_path: Path
) -> None:
    payment = await settled(office)
    await by_file(office, tmp_path, payment, ("Refunded", -300))
    assert await office.kinds() == [Kind.REFUND_MISMATCH]

    done = await by_file(office, tmp_path, payment, ("RefundedReversed", 300))

    assert done.run.counts["matched"] == 1
    assert done.run.cleared == {"refund_mismatch": 1}
    assert await office.kinds() == []
    assert await office.balance("settled_funds") == 0
    assert await office.balance("bank") == 1256


@pytest.mark.parametrize("resolution", [Resolution.ACCEPT_LOSS, Resolution.CORRECT_BY_ENTRY])
@pytest.mark.parametrize("back", [300, 200])
async def test_a_refund_we_did_not_make_that_came_back_can_be_made(
    office: Office, tmp_path: Path, resolution: Resolution, back: int
) -> None:
    payment = await settled(office)
    await by_file(office, tmp_path, payment, ("Refunded", -300))
    await decided(office, Kind.REFUND_MISMATCH, resolution)
    await by_file(office, tmp_path, payment, ("RefundedReversed", back))

    if resolution is Resolution.ACCEPT_LOSS:
        resolution = Resolution.REINSTATE_THE_PAYMENT
    await decided(office, Kind.REFUND_MISMATCH, resolution)

    found = await Disputes(office.installation.platform.tables).of(payment)
    lost = [(it.state, it.claimed_amount) for it in found]
    assert lost == ([("reversed", 300)] if back == 300 else [("lost", 100)])
    assert (await office.payment(payment)).disputed_amount == 300 - back
    corrected = resolution is Resolution.CORRECT_BY_ENTRY
    account = "unexplained_funds" if corrected else "risk_loss:refund_mismatch"
    assert await office.balance(account) == 300 - back
    assert await office.balance("risk_loss:chargeback") == 0
    assert await office.balance("settled_funds") == 0
    processing = office.installation.platform.payment_processing
    refund = await processing.refund_payment(
        payment.id, amount=999 + back, reason="desistimiento", key="k", requested_by="ops"
    )
    assert refund.amount == 999 + back


async def test_a_chargeback_that_came_back_is_not_a_refund_that_came_back(
    office: Office, tmp_path: Path
) -> None:
    payment = await settled(office)
    await by_file(office, tmp_path, payment, ("Refunded", -300), ("Chargeback", -300))
    for kind in (Kind.REFUND_MISMATCH, Kind.CHARGEBACK):
        await decided(office, kind, Resolution.ACCEPT_LOSS)

    for row, kind, origin in (
        ("ChargebackReversed", Kind.CHARGEBACK_REVERSAL, "chargeback line"),
        ("RefundedReversed", Kind.REFUND_MISMATCH, "refund line"),
    ):
        await by_file(office, tmp_path, payment, (row, 300))
        await decided(office, kind, Resolution.REINSTATE_THE_PAYMENT)
        found = await Disputes(office.installation.platform.tables).of(payment)
        assert {it.origin for it in found if it.state == "reversed"} >= {origin}
    assert await office.balance("settled_funds") == 0
    assert await office.balance("risk_loss:chargeback") == 0
    assert await office.balance("risk_loss:refund_mismatch") == 0


async def too_much(office: Office, *, taken: int) -> Payment:
    """Let a line say 22.99 of a settled payment of 12.99, of which the gateway took so much."""
    payment = await office.installation.settled()
    office.gateway_took(payment, taken)
    await office.forget_lines_of("settlement")
    await next_day(office, payment, WRONG)
    return payment


async def test_the_line_of_a_refund_that_a_decision_made_is_matched(office: Office) -> None:
    payment = await too_much(office, taken=2299)
    await decided(office, Kind.AMOUNT, Resolution.REFUND_THE_CUSTOMER)

    done = await next_day(office, payment)
    again = await next_day(office, payment, {"type": "refund", "gross": -1000, "fee": 0})

    assert done.run.counts == {"matched": 1}
    assert again.run.counts == {"refund_mismatch": 1}
    assert await office.balance("settled_funds") == 0
    assert await office.balance("refunds_payable") == 0


async def test_a_refund_that_a_decision_made_and_no_line_tells_is_found(office: Office) -> None:
    await too_much(office, taken=2299)
    await decided(office, Kind.AMOUNT, Resolution.REFUND_THE_CUSTOMER)
    await office.forget_lines_of("refund")
    await office.days_pass(9)

    await office.closed(office.later(-1))

    [found] = await office.found(unresolved=True)
    assert (found.kind, found.amount) == (Kind.REFUND_MISMATCH, 1000)


@pytest.mark.parametrize("answers", [True, False])
async def test_a_line_alone_does_not_show_that_more_was_taken(
    office: Office, *, answers: bool
) -> None:
    await too_much(office, taken=1299)
    if not answers:
        fault = {"match": {"operation": "find"}, "action": {"status": 503}}
        await office.installation.gateway_does("faults", **fault)
    [found] = await office.found(unresolved=True)
    shown = await office.reconciliation.investigation.check(found.id)

    assert Resolution.REFUND_THE_CUSTOMER not in shown.allowed
    with pytest.raises(ResolutionNotAllowedError):
        await decided(office, Kind.AMOUNT, Resolution.REFUND_THE_CUSTOMER)


async def test_a_line_that_settles_nothing_is_for_the_whole_amount(office: Office) -> None:
    await next_day(office, await office.capturing(), {"gross": 0, "fee": 0})

    [found] = await office.found(unresolved=True)
    assert (found.kind, found.amount) == (Kind.AMOUNT, 1299)


async def test_a_decision_whose_refund_was_made_is_not_reopened(office: Office) -> None:
    """Reopened, it gave up its entries and not its refund, whose line then explained nothing."""
    await too_much(office, taken=2299)
    refunded = await decided(office, Kind.AMOUNT, Resolution.REFUND_THE_CUSTOMER)

    with pytest.raises(RefundMadeError):
        await office.reconciliation.investigation.reopen(refunded.id, note="No.", by="Luis")


async def test_a_refund_that_may_be_on_its_way_is_not_decided_otherwise(office: Office) -> None:
    payment = await too_much(office, taken=2299)
    await office.installation.gateway_does(
        "faults", match={"operation": "refund"}, action={"drop_connection_after": True}
    )
    refunded = await decided(office, Kind.AMOUNT, Resolution.REFUND_THE_CUSTOMER)

    with pytest.raises(RefundOnItsWayError):
        await office.reconciliation.investigation.reopen(refunded.id, note="No.", by="Luis")
    assert len(await office.refunds_at_gateway(payment)) == 1


@pytest.mark.parametrize("resolution", [Resolution.ACCEPT_LOSS, Resolution.WRITE_OFF])
async def test_the_rest_of_a_part_is_lost_where_a_webhook_settled_the_payment(
    office: Office, resolution: Resolution
) -> None:
    """The decision booked nothing, and the rest stood on settled funds of a closed day."""
    payment = await office.installation.settled()
    await office.forget_lines_of("settlement")
    part = {"gross": 500, "fee": 32}
    await next_day(office, payment, part)

    await decided(office, Kind.PARTIAL_SETTLEMENT, resolution)

    cause = "write_off" if resolution is Resolution.WRITE_OFF else "partial_settlement"
    assert await office.balance(f"risk_loss:{cause}") == 799
    assert await office.balance("settled_funds") == 0
    await next_day(office, payment, {"gross": 799, "fee": 36})
    assert await office.kinds() == [Kind.DUPLICATE_LINE]
    await decided(office, Kind.DUPLICATE_LINE, Resolution.CORRECT_BY_ENTRY)
    assert await office.balance("settled_funds") == 0


async def test_the_rest_of_a_part_is_claimed_from_where_it_stands(office: Office) -> None:
    payment = await office.installation.settled()
    await office.forget_lines_of("settlement")
    await next_day(office, payment, {"gross": 500, "fee": 32})
    await decided(office, Kind.PARTIAL_SETTLEMENT, Resolution.CLAIM_FROM_GATEWAY)
    claimed = [await office.balance(it) for it in ("gateway_claims", "settled_funds")]

    await next_day(office, payment, {"gross": 799, "fee": 36})

    assert (claimed, await office.kinds()) == ([799, 0], [])
    for account in ("gateway_claims", "settled_funds", "gateway_receivable"):
        assert await office.balance(account) == 0
