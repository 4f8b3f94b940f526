"""Each gateway's report is compared with the payments at that gateway only (decision 199).

The two gateways give their transactions the same ids: whatever matches by an id alone is wrong.
"""

from collections.abc import AsyncIterator
from datetime import date

import pytest

from caas.billing_database.connection import Database
from caas.billing_database.discrepancies import DiscrepancyFilter
from caas.billing_database.identifiers import new_id
from caas.billing_database.job_rows import Job
from caas.billing_database.payments import Payment
from caas.external_systems.report_files import BadReportError
from caas.jobs import RetryIn
from caas.reconciliation import Expected, GatewayNotNamedError, GatewayNotReconciledError
from caas.reconciliation.drop_folder import DROPPED
from caas.rules.discrepancies import DiscrepancyKind
from caas.rules.payment_states import PaymentState
from tests.installation import VIN, Installation
from tests.reconciliation.test_report_formats import STRIPE as STRIPE_HEADER
from tests.reconciliation.test_report_formats import stripe
from tests.two_gateways import CONTRACT, STRIPE, TWIN, TwoGateways, two_gateways

OTHER_VIN = "WVWZZZ1JZXW000002"
HEADER = (
    "line_no,batch_id,transaction_id,reference,type,gross,fee,net,currency,booked_at,value_date"
)


@pytest.fixture
async def at(database: Database) -> AsyncIterator[TwoGateways]:
    """The gateways, before any payment."""
    async with two_gateways(database) as opened:
        yield opened


@pytest.fixture
async def sold(at: TwoGateways) -> tuple[Payment, Payment]:
    """A captured payment at each gateway; both have the same transaction id."""
    async with at.installed(CONTRACT) as before:
        await before.car()
        await before.car(OTHER_VIN)
        await before.offer_heated_seats()
        old = await captured(before, VIN)
    async with at.installed(TWIN, CONTRACT) as after:
        new = await captured(after, OTHER_VIN)
    assert old.gateway_transaction_id == new.gateway_transaction_id
    return old, new


async def captured(installation: Installation, vin: str) -> Payment:
    """Sell a service and have it delivered."""
    payment = await installation.buys(vin=vin)
    await installation.until(payment.id, lambda now: now.state is PaymentState.CAPTURING)
    await installation.rest()
    return await installation.platform.tables.payments.get(payment.id)


def today(at: TwoGateways) -> date:
    """Return the date of the open reports."""
    return date.fromisoformat(at.contract.clock.today())


def line_of(payment: Payment, day: date) -> str:
    """A settlement line of a payment by its transaction alone, as a report file has it."""
    return (
        f"1,bat_1,{payment.gateway_transaction_id},,settlement,{payment.amount},0,{payment.amount},"
        f"EUR,{day}T10:00:00Z,{day}"
    )


async def test_each_report_is_matched_with_its_own_payments(
    at: TwoGateways, sold: tuple[Payment, Payment]
) -> None:
    day = today(at)
    async with at.installed(TWIN, CONTRACT) as both:
        reconciliation = both.platform.reconciliation
        for payment in sold:
            await at.settle(payment.gateway)
            await at.gateway_does(payment.gateway, "close-day", date=day.isoformat())
            done = await reconciliation.reconcile(day, gateway=payment.gateway)

            assert (done.run.counts, done.day.verdict) == ({"matched": 1}, "closed")
            [line] = await both.database.fetch(
                "select l.payment_id, r.gateway from settlement_lines l"
                " join settlement_reports r on r.id = l.report_id where r.gateway = $1",
                payment.gateway,
            )
            assert line["payment_id"] == payment.id
        listed = await reconciliation.listed()
        assert {(it.gateway, it.verdict) for it in listed} == {
            (CONTRACT, "closed"),
            (TWIN, "closed"),
        }


async def test_a_line_about_a_payment_of_another_gateway_is_not_its_settlement(
    at: TwoGateways, sold: tuple[Payment, Payment]
) -> None:
    old, _ = sold
    day = today(at)
    async with at.installed(TWIN, CONTRACT) as both:
        content = f"{HEADER}\n1,bat_1,,{old.id},settlement,{old.amount},0,{old.amount},EUR,"
        await both.platform.reconciliation.reconcile_content(
            day, f"{content}{day}T10:00:00Z,{day}\n".encode(), gateway=TWIN, expected=Expected()
        )

        [found] = await both.platform.reconciliation.discrepancies.listed(
            DiscrepancyFilter(gateway=TWIN)
        )
        assert (found.kind, found.payment_id) == (DiscrepancyKind.MISSING_IN_BOOK, None)
        assert (await both.platform.tables.payments.get(old.id)).settled_amount == 0


async def test_what_a_gateway_has_not_settled_is_missing_there_and_nowhere_else(
    at: TwoGateways, sold: tuple[Payment, Payment]
) -> None:
    """A day on which the other gateway has everything is not complete for this one."""
    old, _ = sold
    async with at.installed(TWIN, CONTRACT) as both:
        reconciliation = both.platform.reconciliation
        await at.settle(TWIN)
        day = today(at)
        await at.gateway_does(TWIN, "close-day", date=day.isoformat())
        await reconciliation.reconcile(day, gateway=TWIN)
        await reconciliation.days.open_day(CONTRACT, day)

        verdicts = {it.gateway: it.verdict for it in await reconciliation.listed()}
        assert verdicts[TWIN] == "closed"
        assert verdicts[CONTRACT] in {"incomplete", "in progress"}
        assert (await both.platform.tables.payments.get(old.id)).settled_amount == 0


async def test_an_uploaded_report_names_its_gateway_where_there_are_several(
    at: TwoGateways, sold: tuple[Payment, Payment]
) -> None:
    _, new = sold
    day = today(at)
    content = f"{HEADER}\n{line_of(new, day)}\n".encode()
    async with at.installed(TWIN, CONTRACT) as both:
        reconciliation = both.platform.reconciliation
        with pytest.raises(GatewayNotNamedError, match=f"{TWIN}, {CONTRACT}"):
            await reconciliation.reconcile_content(day, content, expected=Expected())
        with pytest.raises(GatewayNotReconciledError):
            await reconciliation.reconcile_content(
                day, content, gateway="acme", expected=Expected()
            )

        done = await reconciliation.reconcile_content(
            day, content, gateway=TWIN, expected=Expected()
        )

        assert done.run.counts == {"matched": 1}
        assert (await both.platform.tables.payments.get(new.id)).state is PaymentState.SETTLED


async def test_a_report_of_another_gateway_is_refused_by_name(at: TwoGateways) -> None:
    """Its costs and transfers were booked a second time, and its lines belonged to no payment."""
    rows = f"{STRIPE_HEADER}\n{stripe(1, 'network_cost', '-0.50,0.00,-0.50')}\n"
    async with at.installed(CONTRACT, TWIN, STRIPE) as several:
        reconciliation = several.platform.reconciliation

        with pytest.raises(BadReportError, match=r"a report of 'stripe'.*--gateway stripe"):
            await reconciliation.reconcile_content(
                today(at), rows.encode(), gateway=CONTRACT, expected=Expected()
            )
        done = await reconciliation.reconcile_content(
            today(at), rows.encode(), gateway=STRIPE, expected=Expected()
        )

    assert done.run.counts == {"provider_cost": 1}


async def test_a_file_beside_the_folders_of_several_gateways_is_refused(
    at: TwoGateways, sold: tuple[Payment, Payment]
) -> None:
    old, _ = sold
    day = today(at)
    for name in (TWIN, CONTRACT):
        (at.drop_folder / name).mkdir()
    (at.drop_folder / "bank.csv").write_text(f"{HEADER}\n{line_of(old, day)}\n")
    (at.drop_folder / CONTRACT / "bank.csv").write_text(f"{HEADER}\n{line_of(old, day)}\n")
    async with at.installed(TWIN, CONTRACT) as both:
        reconciliation = both.platform.reconciliation
        unassigned = reconciliation._unassigned
        assert unassigned is not None
        for folder in (unassigned, reconciliation.of(CONTRACT).drop_folder):
            folder._quiet *= 0
            payload: dict[str, object] = {}
            for _ in range(2):
                answer = await folder.look(Job(DROPPED, new_id(), payload, 1, 1))
                assert isinstance(answer, RetryIn)
                payload = dict(answer.payload or {})

        reason = (at.drop_folder / "refused" / "bank.csv.txt").read_text()
        assert "Name the one whose report this is" in reason
        assert (at.drop_folder / CONTRACT / "done" / "bank.csv").exists()
        assert (await both.platform.tables.payments.get(old.id)).settled_amount == old.amount
