"""A reversal that came, and was decided, before the chargeback that it returns.

Reports of two days, and the word of a bank, come in any order. A reversal was decided when no loss
was known, so that its money was unexplained; the chargeback that came afterwards was a loss, beside
an equal liability, and the payment could not be refunded.
"""

from pathlib import Path
from unittest.mock import AsyncMock

import pytest

from caas.billing_database.accounts import Actor
from caas.billing_database.discrepancies import Discrepancy
from caas.billing_database.payments import Payment
from caas.external_systems.payment_gateway import DisputeStatus
from caas.payment_processing.disputes import Disputes
from caas.reconciliation.reversals import Reversals
from caas.rules.discrepancies import DiscrepancyKind as Kind
from caas.rules.discrepancies import Resolution
from tests.reconciliation.office import Office
from tests.reconciliation.test_chargebacks_that_came_back import BACK, TAKEN, balances, broken
from tests.reconciliation.test_money_adds_up import by_file, decided, next_day, settled

ACCOUNTS = (
    "risk_loss:chargeback", "risk_loss:dispute_excess", "risk_loss:refund_mismatch",
    "settled_funds", "unexplained_funds", "gateway_claims", "disputed_funds",
)  # fmt: skip
NOTHING = [0] * len(ACCOUNTS)
FIRST = [Resolution.REINSTATE_THE_PAYMENT, Resolution.CORRECT_BY_ENTRY]


async def back_first(office: Office, resolution: Resolution) -> tuple[Payment, Discrepancy]:
    """Let a reversal be decided in this way before its chargeback is reported."""
    payment = await settled(office)
    await next_day(office, payment, BACK)
    return payment, await decided(office, Kind.CHARGEBACK_REVERSAL, resolution)


async def states(office: Office, payment: Payment) -> tuple[list[str], int]:
    """Return the states of a payment's disputes, and what of it is lost."""
    disputes = await Disputes(office.installation.platform.tables).of(payment)
    return [it.state for it in disputes], (await office.payment(payment)).disputed_amount


async def is_whole(office: Office, payment: Payment) -> None:
    """Check that a chargeback and its reversal left nothing."""
    assert await balances(office, *ACCOUNTS) == NOTHING
    assert await office.balance("bank") == 1256
    assert (await office.payment(payment)).disputed_amount == 0
    assert await broken(office.installation.database) == set()


@pytest.mark.parametrize("first", FIRST)
async def test_the_chargeback_that_comes_later_is_cancelled(
    office: Office, first: Resolution
) -> None:
    payment, back = await back_first(office, first)

    await next_day(office, payment, TAKEN)
    await decided(office, Kind.CHARGEBACK, Resolution.ACCEPT_LOSS)

    await is_whole(office, payment)
    assert await states(office, payment) == (["reversed"], 0)
    seen = await office.reconciliation.investigation.check(back.id)
    assert seen.discrepancy.resolution == Resolution.REINSTATE_THE_PAYMENT
    again = [it for it in seen.events if it.event == "resolved"][-1]
    assert (again.by, again.facts["because_of"].endswith(":1")) == ("reconciliation", True)


@pytest.mark.parametrize("first", FIRST)
async def test_the_word_of_a_lost_dispute_is_cancelled_when_the_day_is_closed(
    office: Office, first: Resolution
) -> None:
    payment, _ = await back_first(office, first)

    await office.told_of_dispute(payment, DisputeStatus.LOST)
    done = await next_day(office, payment, TAKEN)

    assert done.run.counts == {"matched": 1}
    await is_whole(office, payment)
    assert await states(office, payment) == (["reversed"], 0)


async def test_an_invariant_finds_a_reversal_that_stands_beside_its_loss(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment, _ = await back_first(office, Resolution.REINSTATE_THE_PAYMENT)
    await office.told_of_dispute(payment, DisputeStatus.LOST)
    with monkeypatch.context() as without:
        without.setattr(Reversals, "cancel_earlier", AsyncMock())
        await next_day(office, payment, TAKEN)

    unseen = await broken(office.installation.database)
    await next_day(office, payment)

    assert unseen == {"reversals_cancel_their_losses"}
    await is_whole(office, payment)


async def test_a_dispute_that_the_bank_returned_by_its_own_word_too_is_cancelled(
    office: Office,
) -> None:
    payment, _ = await back_first(office, Resolution.REINSTATE_THE_PAYMENT)

    await office.told_of_dispute(payment)
    await office.told_of_dispute(payment, DisputeStatus.WON)
    await next_day(office, payment, TAKEN)

    await is_whole(office, payment)
    assert await states(office, payment) == (["won"], 0)


async def test_a_claim_for_the_chargeback_is_paid_by_what_came_before(office: Office) -> None:
    payment, _ = await back_first(office, Resolution.REINSTATE_THE_PAYMENT)
    await next_day(office, payment, TAKEN)
    await decided(office, Kind.CHARGEBACK, Resolution.CLAIM_FROM_GATEWAY)

    after = dict(zip(ACCOUNTS, await balances(office, *ACCOUNTS), strict=True))

    assert (after.pop("gateway_claims"), after.pop("unexplained_funds")) == (1299, -1299)
    assert set(after.values()) == {0}
    assert await states(office, payment) == (["reversed"], 0)
    assert await broken(office.installation.database) == set()


@pytest.mark.parametrize(
    ("taken", "left", "unexplained"), [(-900, 0, -399), (-1299, 0, 0), (-1500, 201, 0)]
)
async def test_other_amounts_cancel_as_far_as_they_go(
    office: Office, taken: int, left: int, unexplained: int
) -> None:
    payment, _ = await back_first(office, Resolution.REINSTATE_THE_PAYMENT)

    await next_day(office, payment, TAKEN | {"gross": taken})
    await decided(office, Kind.CHARGEBACK, Resolution.ACCEPT_LOSS)

    losses = await balances(office, "risk_loss:chargeback", "risk_loss:dispute_excess")
    assert sum(losses) == left
    assert await balances(office, "settled_funds", "unexplained_funds") == [0, unexplained]
    assert await broken(office.installation.database) == set()


async def test_a_refund_that_we_did_not_make_is_cancelled_by_its_earlier_return(
    office: Office, tmp_path: Path
) -> None:
    payment = await settled(office)
    await by_file(office, tmp_path, payment, ("RefundedReversed", 300))
    await decided(office, Kind.REFUND_MISMATCH, Resolution.REINSTATE_THE_PAYMENT)

    await by_file(office, tmp_path, payment, ("Refunded", -300))
    assert await office.kinds() == [Kind.REFUND_MISMATCH]
    await decided(office, Kind.REFUND_MISMATCH, Resolution.ACCEPT_LOSS)

    await is_whole(office, payment)
    assert await states(office, payment) == (["reversed"], 0)


@pytest.mark.parametrize("first", FIRST)
async def test_either_is_reopened_and_decided_again(office: Office, first: Resolution) -> None:
    payment, back = await back_first(office, first)
    await next_day(office, payment, TAKEN)
    taken = await decided(office, Kind.CHARGEBACK, Resolution.ACCEPT_LOSS)
    investigation = office.reconciliation.investigation

    await investigation.reopen(taken.id, note="Look.", by="Luis")
    accounts = ("risk_loss:chargeback", "settled_funds", "unexplained_funds", "bank")
    assert await balances(office, *accounts) == [0, 0, -1299, 1256 + 1299]
    await decided(office, Kind.CHARGEBACK, Resolution.ACCEPT_LOSS)
    await is_whole(office, payment)
    await investigation.reopen(back.id, note="Look.", by="Luis")
    assert await states(office, payment) == (["lost"], 1299)
    assert await balances(office, *accounts) == [1299, 0, 0, 1256 - 1299]
    await decided(office, Kind.CHARGEBACK_REVERSAL, Resolution.REINSTATE_THE_PAYMENT)

    await next_day(office, payment)
    await is_whole(office, payment)


async def test_a_reversal_of_a_sealed_day_cancels_the_loss_of_its_chargeback(
    office: Office,
) -> None:
    payment, back = await back_first(office, Resolution.REINSTATE_THE_PAYMENT)
    await office.reconciliation.seal(back.day, by="Luis")

    await next_day(office, payment, TAKEN)
    await decided(office, Kind.CHARGEBACK, Resolution.ACCEPT_LOSS)

    assert await balances(office, *ACCOUNTS) == NOTHING
    assert await broken(office.installation.database) == set()


async def test_a_part_that_came_back_is_decided_before_the_refund_that_we_did_not_make(
    office: Office, tmp_path: Path
) -> None:
    payment = await settled(office)
    await by_file(office, tmp_path, payment, ("Refunded", -500))
    await by_file(office, tmp_path, payment, ("RefundedReversed", 300))
    taken, back = sorted(await office.found(unresolved=True), key=lambda it: -it.amount)

    for found, resolution in (
        (back, Resolution.REINSTATE_THE_PAYMENT),
        (taken, Resolution.ACCEPT_LOSS),
    ):
        await office.reconciliation.investigation.resolve(
            found.id, resolution=resolution, note="Seen.", by=Actor("Luis")
        )

    accounts = ("risk_loss:refund_mismatch", "settled_funds", "unexplained_funds")
    assert sum(await balances(office, "risk_loss:chargeback", "risk_loss:refund_mismatch")) == 200
    assert (await balances(office, *accounts))[1:] == [0, 0]
