"""Payouts against the lines of the settlement reports, movement by movement."""

from dataclasses import dataclass, field
from datetime import date, timedelta

import pytest
from msgspec.structs import replace

from caas.billing_database.identifiers import derived_id
from caas.billing_database.job_rows import Job
from caas.billing_database.payout_lines import PayoutLines
from caas.external_systems.gateway_payouts import GatewayPayout
from caas.external_systems.http_answers import OutcomeUnknownError, UnknownReason
from caas.jobs import RetryIn
from caas.reconciliation.payouts import CHECK_PAYOUTS, LINES_DUE_DAYS, Payouts
from caas.reconciliation.runs import Runs
from tests.external_systems.stripe_reports import StripeReportsStandIn, movement
from tests.reconciliation.office import Office

NET = 1256
"""What one movement of the stand-in leaves."""


@dataclass
class Bank:
    """A gateway that lists these payouts."""

    name: str = "stripe"
    made: dict[date, list[GatewayPayout]] = field(default_factory=dict)
    is_away: bool = False

    async def payouts(self, day: date) -> tuple[GatewayPayout, ...]:
        if self.is_away:
            raise OutcomeUnknownError(
                partner="stripe", call="GET /v1/payouts", reason=UnknownReason.TIMED_OUT
            )
        return tuple(self.made.get(day, ()))


async def reported(office: Office, stripe: StripeReportsStandIn, runs: Runs) -> None:
    """Reconcile a day with the movements txn_1 and txn_2."""
    at = f"{office.today} 12:00:00"
    stripe.movements = [movement(number, at) for number in (1, 2)]
    await runs.reconcile(office.today)


def payout(day: date, movements: dict[str, int] | None, amount: int) -> GatewayPayout:
    """A payout that was made on a day."""
    return GatewayPayout(
        id="po_1", created_on=day, amount=amount, currency="EUR", is_returned=False,
        movements=movements,
    )  # fmt: skip


async def today_of(office: Office) -> date:
    """Return the date by which payouts are asked for: that of UTC, not of the reports."""
    return await PayoutLines(office.installation.platform.tables.database).today()


async def compared(office: Office, bank: Bank) -> RetryIn:
    """Let the daily job run."""
    platform = office.installation.platform
    payouts = Payouts(tables=platform.tables, gateways=[bank], alert=platform.notifications.alert)
    await payouts.begin()
    job = Job(
        kind=CHECK_PAYOUTS, subject=derived_id("payouts", bank.name),
        payload={"gateway": bank.name}, attempts=1, fence=1,
    )  # fmt: skip
    answer = await payouts._check(job)
    assert isinstance(answer, RetryIn)
    return answer


async def cases(office: Office, status: str | None = "open") -> list[tuple[str, str]]:
    """The cases about the payout."""
    found = await office.installation.platform.tables.cases.listed(
        status=status, subject=derived_id("payout", "stripe", "po_1")
    )
    return [(it.kind, it.sentence) for it in found]


async def test_a_payout_of_reported_lines_is_no_case(
    office: Office, stripe: StripeReportsStandIn, runs: Runs
) -> None:
    await reported(office, stripe, runs)
    day = await today_of(office) - timedelta(days=LINES_DUE_DAYS)
    whole = payout(day, {"txn_1": NET, "txn_2": NET}, 2 * NET)

    await compared(office, Bank(made={day: [whole]}))

    assert await cases(office, status=None) == []


@pytest.mark.parametrize(
    ("movements", "amount", "sentence"),
    [
        ({"txn_1": NET, "txn_2": NET}, 2 * NET + 1, "it is 0.01 EUR more than its movements"),
        ({"txn_1": NET, "txn_9": NET}, 2 * NET, "no report has txn_9"),
        ({"txn_1": NET, "txn_2": NET - 5}, 2 * NET - 5, "another amount for txn_2"),
    ],
)
async def test_a_payout_that_differs_is_a_case_and_only_one(
    office: Office, stripe: StripeReportsStandIn, runs: Runs,
    movements: dict[str, int], amount: int, sentence: str,
) -> None:  # fmt: skip
    await reported(office, stripe, runs)
    day = await today_of(office) - timedelta(days=LINES_DUE_DAYS)
    bank = Bank(made={day: [payout(day, movements, amount)]})

    await compared(office, bank)
    await compared(office, bank)

    [(kind, said)] = await cases(office, status=None)
    assert kind == "payout_differs"
    assert sentence in said


async def test_a_line_that_is_missing_is_waited_for_and_its_case_ends_when_it_comes(
    office: Office, stripe: StripeReportsStandIn, runs: Runs
) -> None:
    today = await today_of(office)
    young = today - timedelta(days=LINES_DUE_DAYS - 1)
    old = today - timedelta(days=LINES_DUE_DAYS)
    one = payout(young, {"txn_1": NET, "txn_2": NET}, 2 * NET)

    await compared(office, Bank(made={young: [one]}))
    waiting = await cases(office)
    bank = Bank(made={old: [replace(one, created_on=old)]})
    await compared(office, bank)
    missing = await cases(office)
    await reported(office, stripe, runs)
    await compared(office, bank)

    assert (waiting, await cases(office)) == ([], [])
    assert [kind for kind, _ in missing] == ["payout_differs"]


async def test_a_payout_that_the_bank_returned_is_a_case(office: Office) -> None:
    day = await today_of(office) - timedelta(days=1)
    returned = replace(payout(day, None, 500), is_returned=True)

    await compared(office, Bank(made={day: [returned]}))

    [(kind, sentence)] = await cases(office)
    assert kind == "payout_returned"
    assert "po_1 of 5.00 EUR" in sentence


async def test_a_payout_made_by_hand_is_not_compared(office: Office) -> None:
    day = await today_of(office) - timedelta(days=LINES_DUE_DAYS)

    await compared(office, Bank(made={day: [payout(day, None, 500)]}))

    assert await cases(office, status=None) == []


async def test_a_gateway_that_does_not_answer_is_asked_again_within_the_hour(
    office: Office,
) -> None:
    answer = await compared(office, Bank(is_away=True))

    assert answer.due_in == 3_600
    assert answer.because is not None
