"""What was given up as a loss came after all: its line takes the loss back.

The line of the rest was an amount too much, a copy, or a conflict with a payment that was lost.
None of these took the loss back: the money was income or a liability beside it.
"""

import pytest

from caas.billing_database.payments import Payment
from caas.payment_processing.settlement import SettlementNotice
from caas.reconciliation.taking_back import LossReturnedError
from caas.rules.discrepancies import DiscrepancyKind as Kind
from caas.rules.discrepancies import Resolution
from caas.rules.payment_states import PaymentState
from tests.reconciliation.office import Office
from tests.reconciliation.test_chargebacks_that_came_back import broken
from tests.reconciliation.test_losses_taken_back import PART, REST
from tests.reconciliation.test_money_adds_up import RIGHT, decided, next_day

OTHERS = ("settled_funds", "gateway_receivable", "unexplained_funds", "unallocated_income")
GIVE_UP = [Resolution.ACCEPT_LOSS, Resolution.WRITE_OFF]


async def lost(office: Office) -> int:
    """Return the losses of all causes, which cancel nowhere."""
    [row] = await office.installation.database.fetch(
        "select coalesce(sum(amount), 0)::bigint as lost from ledger_lines"
        " where account like 'risk_loss:%'"
    )
    return int(row["lost"])


async def given_up(office: Office, resolution: Resolution, *, settled: bool) -> Payment:
    """Give up the rest of a payment, before or after a webhook settled it in full."""
    payment = await office.capturing()
    await next_day(office, payment, PART)
    if settled:
        notice = SettlementNotice(
            settlement_id="s", settled=True, settled_amount=1299, currency=payment.currency
        )
        processing = office.installation.platform.payment_processing
        await processing.record_settlement(payment.id, notice)
    await decided(office, Kind.PARTIAL_SETTLEMENT, resolution)
    assert await lost(office) == 399
    return payment


async def takes_it_back(office: Office, kind: Kind) -> None:
    """Decide the line of the rest, reopen it, and decide it again."""
    [found] = await office.found(unresolved=True)
    seen = await office.reconciliation.investigation.check(found.id)
    assert (found.kind, Resolution.REINSTATE_THE_PAYMENT in seen.allowed) == (kind, True)
    before = await lost(office)
    for _ in range(2):
        done = await decided(office, kind, Resolution.REINSTATE_THE_PAYMENT)
        assert await lost(office) == 0
        assert [await office.balance(account) for account in OTHERS] == [0, 0, 0, 0]
        assert await broken(office.installation.database) == set()
        await office.reconciliation.investigation.reopen(done.id, note="Look.", by="Luis")
        assert await lost(office) == before
    await decided(office, kind, Resolution.REINSTATE_THE_PAYMENT)
    assert await office.balance("bank") + await office.balance("gateway_fees") == 1299


@pytest.mark.parametrize("resolution", GIVE_UP)
@pytest.mark.parametrize(("settled", "kind"), [(False, Kind.AMOUNT), (True, Kind.DUPLICATE_LINE)])
async def test_the_rest_that_came_takes_its_loss_back(
    office: Office, resolution: Resolution, kind: Kind, *, settled: bool
) -> None:
    payment = await given_up(office, resolution, settled=settled)

    await next_day(office, payment, REST)

    await takes_it_back(office, kind)


@pytest.mark.parametrize("more", [100, 600])
async def test_only_what_was_lost_is_taken_back(office: Office, more: int) -> None:
    payment = await given_up(office, Resolution.ACCEPT_LOSS, settled=False)
    await next_day(office, payment, {"gross": more, "fee": 0})

    await decided(office, Kind.AMOUNT, Resolution.REINSTATE_THE_PAYMENT)

    assert await lost(office) == max(399 - more, 0)
    assert await office.balance("unexplained_funds") == -max(more - 399, 0)
    assert await broken(office.installation.database) == set()


async def test_a_payment_that_never_came_and_was_lost_takes_its_loss_back(office: Office) -> None:
    payment = await office.capturing()
    await office.a_settlement_is_late()
    await decided(office, Kind.DELAYED_SETTLEMENT, Resolution.ACCEPT_LOSS)
    assert (await office.payment(payment)).state is PaymentState.SETTLEMENT_FAILED

    await next_day(office, payment, RIGHT)

    await takes_it_back(office, Kind.STATE_CONFLICT)


async def test_a_loss_that_came_back_is_not_reopened(office: Office) -> None:
    payment = await given_up(office, Resolution.WRITE_OFF, settled=False)
    [gave_up] = await office.found()
    await next_day(office, payment, REST)
    back = await decided(office, Kind.AMOUNT, Resolution.REINSTATE_THE_PAYMENT)
    investigation = office.reconciliation.investigation

    with pytest.raises(LossReturnedError):
        await investigation.reopen(gave_up.id, note="Look.", by="Luis")
    await investigation.reopen(back.id, note="Look.", by="Luis")
    await investigation.reopen(gave_up.id, note="Look.", by="Luis")
    await next_day(office, payment)

    assert await lost(office) == 0
    assert await office.kinds() == []
    assert await broken(office.installation.database) == set()


async def test_it_is_not_offered_where_nothing_was_lost(office: Office) -> None:
    payment = await office.capturing()
    await next_day(office, payment, RIGHT, REST)
    [found] = await office.found(unresolved=True)

    seen = await office.reconciliation.investigation.check(found.id)

    assert Resolution.REINSTATE_THE_PAYMENT not in seen.allowed
