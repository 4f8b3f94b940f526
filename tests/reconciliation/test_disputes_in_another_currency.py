"""A dispute in another currency than its payment is found, and a person can resolve it.

What it took stood on settled funds of the payment's currency, and nothing ever looked for it.
"""

from msgspec.structs import replace

from caas.billing_database import self_check
from caas.billing_database.payments import Payment
from caas.external_systems.payment_gateway import DisputeStatus, GatewayDispute
from caas.payment_processing.disputes import Disputes
from caas.rules.discrepancies import DiscrepancyKind as Kind
from caas.rules.discrepancies import Resolution
from tests.reconciliation.office import Office
from tests.reconciliation.test_money_adds_up import decided, next_day, settled


async def word(office: Office, payment: Payment, status: DisputeStatus) -> None:
    """Let the webhook of a dispute of 14.00 dollars come."""
    reported = GatewayDispute(
        id="dp_usd", transaction_id=payment.gateway_transaction_id or "", amount=1400,
        currency="USD", status=DisputeStatus.LOST,
    )  # fmt: skip
    disputes = Disputes(office.installation.platform.tables)
    await disputes.on_event("contract", replace(reported, status=status))


async def test_a_lost_dispute_in_another_currency_is_resolved_by_an_entry(office: Office) -> None:
    payment = await settled(office)
    await word(office, payment, DisputeStatus.LOST)
    left = await office.balance("settled_funds")

    done = await next_day(office, payment)
    [found] = await office.found(unresolved=True)
    allowed = (await office.reconciliation.investigation.check(found.id)).allowed
    await decided(office, Kind.CURRENCY, Resolution.CORRECT_BY_ENTRY)
    again = await next_day(office, payment)

    assert (left, done.run.counts, again.run.counts) == (-1299, {"currency": 1}, {})
    assert (found.amount, found.currency, found.line_no) == (1299, "EUR", None)
    assert allowed == (Resolution.CORRECT_BY_ENTRY,)
    assert await office.balance("settled_funds") == 0
    assert await office.balance("unexplained_funds") == -1299


async def test_it_ends_by_itself_when_the_dispute_is_reversed(office: Office) -> None:
    payment = await settled(office)
    await word(office, payment, DisputeStatus.LOST)
    await next_day(office, payment)
    await decided(office, Kind.CURRENCY, Resolution.CORRECT_BY_ENTRY)

    await word(office, payment, DisputeStatus.WON)
    done = await next_day(office, payment)

    assert (done.run.cleared, await office.kinds()) == ({"currency": 1}, [])
    for account in ("settled_funds", "unexplained_funds", "risk_loss:chargeback"):
        assert await office.balance(account) == 0


async def test_a_lost_dispute_that_nobody_told_of_is_found_by_the_invariant(
    office: Office,
) -> None:
    payment = await settled(office)
    await word(office, payment, DisputeStatus.LOST)
    await office.days_pass(1)
    database = office.installation.database
    await office.installation.gateway_does("close-day", date=office.today.isoformat())
    await office.reconciliation.reconcile(office.today, mode="incremental")

    async def broken() -> set[str]:
        found = await self_check.self_check(database)
        return {it.invariant.name for it in found if it.broken}

    await database.fetch(
        "update reconciliation_days set closed_at = db_now() where closed_by_run is not null"
    )
    unseen = await broken()
    await office.reconciliation.reconcile(office.today)

    assert (unseen, await broken()) == ({"disputes_in_another_currency_are_found"}, set())
