"""Compares a gateway's payouts with its settlement reports, movement by movement (decision 204).

A payout is the sum of what its movements leave, and each movement is a line of a report. A case
says what differs, and that the bank returned a payout. The money of a payout is that of its lines,
so nothing is booked here.

Rules a change must keep: a line that is missing is no difference until its report was due; a case
is opened once for a payout, and ends by itself when nothing differs any more.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final
from uuid import UUID

from caas.billing_database.identifiers import derived_id
from caas.billing_database.job_rows import Job
from caas.billing_database.payout_lines import PayoutLines
from caas.billing_database.tables import BillingDatabase
from caas.external_systems.gateway_payouts import GatewayPayout, PayoutGateway
from caas.external_systems.http_answers import GatewayFailure
from caas.jobs import Answer, Done, JobQueue, RetryIn
from caas.payment_processing.flow import Alert
from caas.rules.money import Money

CHECK_PAYOUTS: Final = "check_payouts"
DIFFERS: Final = "payout_differs"
RETURNED: Final = "payout_returned"
EVERY_SECONDS: Final = 86_400.0
AFTER_FAILURE_SECONDS: Final = 3_600.0
DAYS: Final = 10
"""For how many days a payout is compared again, until every line has come."""
LINES_DUE_DAYS: Final = 3
NAMED_MAX: Final = 5


class Payouts:
    """Compares the payouts of the gateways that list them."""

    def __init__(
        self, *, tables: BillingDatabase, gateways: Sequence[object], alert: Alert
    ) -> None:
        """Compare the payouts of these gateways; those without a list are left out."""
        self._tables = tables
        self._alert = alert
        self._lines = PayoutLines(tables.database)
        self._gateways = {it.name: it for it in gateways if isinstance(it, PayoutGateway)}

    def register(self, jobs: JobQueue) -> None:
        """Register the daily job."""
        jobs.register(CHECK_PAYOUTS, self._check)

    async def begin(self) -> None:
        """Schedule the daily job of each gateway; idempotent."""
        await self._tables.jobs.add_all(
            [
                (CHECK_PAYOUTS, derived_id("payouts", name), 0.0, {"gateway": name})
                for name in self._gateways
            ]
        )

    async def _check(self, job: Job) -> Answer:
        gateway = self._gateways.get(str(job.payload["gateway"]))
        if gateway is None:
            return RetryIn(EVERY_SECONDS, "the gateway is not configured", begins_anew=True)
        today = await self._lines.today()
        for ago in range(DAYS, 0, -1):
            try:
                payouts = await gateway.payouts(today - timedelta(days=ago))
            except GatewayFailure as failure:
                return RetryIn(AFTER_FAILURE_SECONDS, failure.sentence)
            for payout in payouts:
                await self._compare(gateway.name, payout, today)
        return RetryIn(EVERY_SECONDS, begins_anew=True)

    async def on_event(self, gateway: str, payout: GatewayPayout) -> Answer:
        """Open a case for a payout that the gateway reports as returned, whenever it was made."""
        today = await self._lines.today()
        await self._compare(gateway, payout, today)
        return Done()

    async def _compare(self, gateway: str, payout: GatewayPayout, today: date) -> None:
        subject = derived_id("payout", gateway, payout.id)
        if payout.is_returned:
            sentence = (
                f"The bank returned the payout {_named(payout)}. Its money is at {gateway} again: "
                "check the bank account there; the next payout has it too."
            )
            await self._open(RETURNED, subject, sentence)
            return
        if payout.movements is None:
            return
        different = await self._differences(gateway, payout, payout.movements, today)
        if different:
            sentence = f"The payout {_named(payout)} of {gateway} differs: {' '.join(different)}"
            await self._open(DIFFERS, subject, sentence)
        elif different is not None:
            await self._tables.cases.close(
                DIFFERS, subject, resolution="Every line has come, and the payout is their sum.",
                owner="caas",
            )  # fmt: skip

    async def _differences(
        self, gateway: str, payout: GatewayPayout, movements: dict[str, int], today: date
    ) -> list[str] | None:
        """Return what differs, in sentences; None while lines may still come."""
        reported = await self._lines.nets(gateway, list(movements), payout.currency)
        missing = [it for it in movements if it not in reported]
        if missing and today - payout.created_on < timedelta(days=LINES_DUE_DAYS):
            return None
        total = sum(movements.values())
        other = [it for it, net in movements.items() if reported.get(it, net) != net]
        sentences = []
        if total != payout.amount:
            difference = Money(payout.amount - total, payout.currency)
            sentences.append(f"it is {difference} more than its movements.")
        if missing:
            sentences.append(f"no report has {_listed(missing)}.")
        if other:
            sentences.append(f"a report has another amount for {_listed(other)}.")
        return sentences

    async def _open(self, kind: str, subject: UUID, sentence: str) -> None:
        """Open a case and alert, unless this payout had such a case before."""
        if await self._tables.cases.listed(status=None, subject=subject, kind=kind):
            return
        await self._alert(kind, subject, sentence)


def _named(payout: GatewayPayout) -> str:
    return f"{payout.id} of {Money(payout.amount, payout.currency)} on {payout.created_on}"


def _listed(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - NAMED_MAX} more" if len(ids) > NAMED_MAX else ""
    return ", ".join(ids[:NAMED_MAX]) + more
