"""What changes a loss after the day of its decision is sealed is balanced on the next open day.

A payment whose decided days were all sealed was not balanced, and the invariant looked away: a
claim stood beside a loss below zero for good, and an auditor found neither.
"""

from datetime import timedelta

import pytest

from caas.billing_database.discrepancies import Discrepancy
from caas.billing_database.payments import Payment
from caas.external_systems.payment_gateway import DisputeStatus, GatewayDispute
from caas.payment_processing.disputes import Disputes
from caas.reconciliation.validation import BalancedByItselfError
from caas.rules.discrepancies import DiscrepancyKind as Kind
from caas.rules.discrepancies import Resolution
from tests.payment_processing.test_money_that_contradicts import until_ended
from tests.people import COMMAND_LINE
from tests.reconciliation.office import Office
from tests.reconciliation.test_chargebacks_that_came_back import BACK, TAKEN
from tests.reconciliation.test_excess_that_fits_later import beside_a_refund
from tests.reconciliation.test_losses_of_disputes import are
from tests.reconciliation.test_money_adds_up import decided, next_day, settled

LOST, WON = DisputeStatus.LOST, DisputeStatus.WON
CLAIM = Resolution.CLAIM_FROM_GATEWAY


async def reported(
    office: Office, payment: Payment, status: DisputeStatus, hour: int, amount: int = 1299
) -> None:
    """Let the webhook of a dispute arrive; no job is done afterwards."""
    [now] = await office.installation.database.fetch("select db_now() as now")
    dispute = GatewayDispute(
        id=f"dsp_{payment.id}",
        transaction_id=payment.gateway_transaction_id or "",
        amount=amount,
        currency=payment.currency,
        status=status,
    )
    disputes = Disputes(office.installation.platform.tables)
    await disputes.on_event("contract", dispute, now["now"] + timedelta(hours=hour))


async def sealed(office: Office, found: Discrepancy) -> bytes:
    """Seal the day of a decision, and return its report."""
    await office.reconciliation.seal(found.day, by="Luis")
    return await report(office, found)


async def report(office: Office, found: Discrepancy) -> bytes:
    """Return the sealed report of a discrepancy's day."""
    kept = await office.reconciliation.days.sealed_report("contract", found.day, "csv")
    assert kept is not None
    return kept[0]


async def late(office: Office) -> list[Discrepancy]:
    """Return the discrepancies that balance losses of sealed days."""
    return [it for it in await office.found(kind=Kind.CHARGEBACK) if it.report_id is None]


async def claimed(office: Office) -> tuple[Payment, Discrepancy]:
    """Claim what a chargeback took."""
    payment = await settled(office)
    await next_day(office, payment, TAKEN)
    return payment, await decided(office, Kind.CHARGEBACK, CLAIM)


async def test_what_a_bank_returned_after_the_seal_pays_the_claim(office: Office) -> None:
    payment, claim = await claimed(office)
    before = await sealed(office, claim)

    await reported(office, payment, WON, 1)

    await are(office, gateway_claims=1299, unexplained_funds=-1299, settled_funds=1299)
    [found] = await late(office)
    seen = await office.reconciliation.investigation.check(found.id)
    assert (found.day, found.status, found.resolution) == (
        claim.day + timedelta(days=1), "resolved", "itself",
    )  # fmt: skip
    assert seen.events[0].facts == {"late_of": claim.day.isoformat()}
    done = await next_day(office, payment, BACK)
    assert (done.day.day, done.day.verdict) == (found.day, "closed")
    assert await report(office, claim) == before
    await office.reconciliation.bulk.claim_step(
        claim.id, "paid", receipt="C-7", note="Came.", by=COMMAND_LINE
    )
    await are(office)


async def test_what_a_bank_takes_again_after_the_seal_is_balanced_again(office: Office) -> None:
    payment, claim = await claimed(office)
    await sealed(office, claim)
    await reported(office, payment, WON, 1)

    await reported(office, payment, LOST, 2)

    await are(office, gateway_claims=1299)
    [found] = await late(office)
    await next_day(office, payment, BACK)
    before = await sealed(office, found)
    await reported(office, payment, WON, 3)
    await are(office, gateway_claims=1299, unexplained_funds=-1299)
    assert len({it.day for it in await late(office)}) == 2
    assert await report(office, found) == before


async def test_what_is_balanced_by_itself_is_not_reopened(office: Office) -> None:
    payment, claim = await claimed(office)
    await sealed(office, claim)
    await reported(office, payment, WON, 1)
    [found] = await late(office)

    with pytest.raises(BalancedByItselfError):
        await office.reconciliation.investigation.reopen(found.id, note="Look.", by="Luis")

    await are(office, gateway_claims=1299, unexplained_funds=-1299, settled_funds=1299)


@pytest.mark.parametrize("type_", ["chargeback", "refund"])
async def test_the_excess_that_fits_after_the_seal_is_no_loss_below_zero(
    office: Office, type_: str
) -> None:
    payment = await beside_a_refund(office, type_)
    kind = Kind.CHARGEBACK if type_ == "chargeback" else Kind.REFUND_MISMATCH
    claim = await decided(office, kind, CLAIM)
    await sealed(office, claim)

    await until_ended(office.installation, payment)
    await office.installation.rest()

    await are(office, gateway_claims=1299)
