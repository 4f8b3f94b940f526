"""The Billing Subsystem (Diagram 6): "End of Month Reached", "Calculate Usage Charges", charge.

A monthly run issues an invoice for every subscription that was delivered or used, then charges
them. Both steps work in batches; each batch is one commit together with the run's position, so a
run can be interrupted, resumed on any machine, run concurrently, and repeated without effect.

Rules a change must keep: a month is billed only after it ends in the market's time zone (decision
28); an invoice is issued before its charge; a run's result depends only on the stored data.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from caas.billing.letterhead import Letterhead
from caas.billing_database.billing_runs import (
    CANNOT_BE_WRITTEN,
    Batch,
    BillingRun,
    BillingRuns,
    BillingTerms,
)
from caas.billing_database.connection import Connection
from caas.billing_database.identifiers import derived_id
from caas.billing_database.invoices import INVOICE
from caas.billing_database.job_rows import Job
from caas.billing_database.tables import BillingDatabase
from caas.errors import NotFoundError, RefusedError
from caas.jobs import Answer, Done, JobQueue, RetryIn
from caas.notifications import CUSTOMER, Notifications
from caas.payment_processing.subscription_payment import SubscriptionPayment
from caas.rules.mes_vencido import Month

BILL_MONTH: Final = "bill_month"
TOO_LARGE: Final = "month_too_large"
NOT_INVOICED: Final = "month_not_invoiced"
BUYER_UNKNOWN: Final = "month_without_buyer"
NO_TAX_TABLE: Final = "month_without_tax_table"
INVOICED: Final = "Job result: the month was invoiced."
BILLER: Final = "billing"
ERROR_CHARS_MAX: Final = 300
INVOICED_AT_ONCE: Final = 5000
CHARGED_AT_ONCE: Final = 2000
BATCHES_AT_ONCE_MAX: Final = 20
LOOK_AGAIN_SECONDS_MAX: Final = 6 * 3600.0

Progress = Callable[[BillingRun], None]


class MonthNotOverError(RefusedError):
    """The month has not ended in the market's time zone. It is billed when it ends."""

    code = "month_not_over"


class BillingRunNotFoundError(NotFoundError):
    """The month has not been billed yet."""

    code = "billing_run_not_found"


class Billing:
    """The monthly billing cycle."""

    def __init__(
        self,
        *,
        tables: BillingDatabase,
        subscription_payment: SubscriptionPayment,
        notifications: Notifications,
        letterhead: Letterhead,
        public_url: str = "",
    ) -> None:
        """Issue under this letterhead; customers enter billing details at `public_url`."""
        self._tables = tables
        self._payment = subscription_payment
        self._notifications = notifications
        self._letterhead = letterhead
        self._public_url = public_url
        self._runs = BillingRuns(tables.database)

    def register(self, jobs: JobQueue) -> None:
        """Register the job handler."""
        jobs.register(BILL_MONTH, self._month_due)

    async def schedule(self) -> Month:
        """Schedule the billing of the current month; return the month."""
        now = await self._runs.now()
        month = Month.containing(now, self._letterhead.zone)
        await self._schedule(month, now)
        return month

    async def run_month(self, month: Month, *, progress: Progress | None = None) -> BillingRun:
        """Bill a past month, resuming its run; a completed run is unchanged.

        Raises:
            MonthNotOverError: the month has not ended.
        """
        await self._begin(month)
        run = await self._advance(month)
        while run.finished_at is None:
            if progress is not None:
                progress(run)
            run = await self._advance(month)
        if progress is not None:
            progress(run)
        return run

    async def run_again(self, month: Month, *, progress: Progress | None = None) -> BillingRun:
        """Bill what a completed run skipped because the buyer or the tax rate was unknown.

        Raises:
            MonthNotOverError: the month has not ended.
        """
        await self._runs.restart(month)
        return await self.run_month(month, progress=progress)

    async def run(self, month: Month) -> BillingRun:
        """Return the progress of a month's run.

        Raises:
            BillingRunNotFoundError: the month has no run.
        """
        run = await self._runs.find(month)
        if run is None:
            raise BillingRunNotFoundError(month=str(month))
        return run

    async def runs(self) -> list[BillingRun]:
        """Return the runs, newest month first."""
        return await self._runs.listed()

    async def too_small(self, runs: Sequence[BillingRun]) -> dict[str, int]:
        """Return for the months of these runs how many charges no gateway takes (decision 264)."""
        return await self._runs.too_small([run.month for run in runs])

    async def _begin(self, month: Month) -> None:
        now = await self._runs.now()
        if not month.is_over(now, self._letterhead.zone):
            end = month.interval(self._letterhead.zone).end
            raise MonthNotOverError(f"{month} ends at {end.isoformat()}; it is billed then.")
        await self._runs.begin(month, series=self._series(now), zone=self._letterhead.zone.key)

    async def _advance(self, month: Month) -> BillingRun:
        """Process the next batch of a run in one commit."""

        async def batch(connection: Connection) -> BillingRun:
            run = await self._runs.locked(month, within=connection)
            if run.finished_at is not None:
                return run
            if run.invoiced_at is None:
                return await self._calculate_usage_charges(run, month, connection)
            return await self._charge_mes_vencido(run, connection)

        return await self._tables.database.in_transaction(batch)

    async def _calculate_usage_charges(
        self, run: BillingRun, month: Month, connection: Connection
    ) -> BillingRun:
        terms = BillingTerms(
            month=month,
            interval=month.interval(self._letterhead.zone),
            zone=self._letterhead.zone.key,
            series=self._series(await self._runs.now(within=connection)),
            seller=self._letterhead.as_issued,
        )
        rows_max = INVOICED_AT_ONCE
        while True:
            try:
                async with connection.transaction():
                    after, batch = await self._runs.invoice_batch(
                        run, terms, rows_max=rows_max, within=connection
                    )
            except CANNOT_BE_WRITTEN as error:
                if rows_max == 1:
                    return await self._skip(run, terms, str(error), connection)
                rows_max //= 2
                continue
            await self._report_unbilled(batch, month, connection)
            for subscription in batch.invoiced if run.restarted else ():
                for kind in (NO_TAX_TABLE, BUYER_UNKNOWN):
                    await self._tables.cases.close(
                        kind, subscription, resolution=INVOICED, owner=BILLER, within=connection
                    )
            return after

    async def _report_unbilled(self, batch: Batch, month: Month, connection: Connection) -> None:
        for subscription in batch.unfit:
            await self._report_too_large(subscription, month, connection)
        for subscription in batch.untaxed:
            await self._report_untaxed(subscription, month, connection)
        for subscription in batch.unnamed:
            await self._report_unnamed(subscription, month, connection)

    async def _skip(
        self, run: BillingRun, terms: BillingTerms, error: str, connection: Connection
    ) -> BillingRun:
        """Open a case for a subscription that cannot be invoiced; the others continue."""
        after, subscription = await self._runs.pass_over(run, terms, within=connection)
        await self._notifications.alert(
            NOT_INVOICED,
            subscription,
            (
                f"A subscription has no invoice for {terms.month}: "
                f"{error[:ERROR_CHARS_MAX]}. Check its terms and its usage."
            ),
            within=connection,
        )
        return after

    async def _charge_mes_vencido(self, run: BillingRun, connection: Connection) -> BillingRun:
        charges = await self._runs.uncharged(run, rows_max=CHARGED_AT_ONCE, within=connection)
        made = await self._payment.charge_mes_vencido(charges, within=connection) if charges else 0
        last = charges[-1] if charges else None
        return await self._runs.charged(run, last, made=made, within=connection)

    async def _report_too_large(
        self, subscription: UUID, month: Month, connection: Connection
    ) -> None:
        await self._notifications.alert(
            TOO_LARGE,
            subscription,
            (
                f"The recorded usage of a subscription for {month} is negative or "
                "exceeds the largest payment; only its fee is billed. Cancel incorrect "
                "usage records; the rest is billed with the next month."
            ),
            within=connection,
        )

    async def _report_untaxed(
        self, subscription: UUID, month: Month, connection: Connection
    ) -> None:
        await self._notifications.alert(
            NO_TAX_TABLE,
            subscription,
            (
                f"A subscription has no invoice for {month}: its customer's billing "
                "address is in a market without tax rates. Add the market with './caas "
                "taxes add-market' and its rates with './caas taxes change', then run "
                f"'./caas bill --month {month} --again'; or end the subscription."
            ),
            within=connection,
        )

    async def _report_unnamed(
        self, subscription: UUID, month: Month, connection: Connection
    ) -> None:
        """Hold an invoice that by law must name its buyer until the billing details exist."""
        customer = await self._runs.customer_of(subscription, within=connection)
        await self._notifications.notify(
            audience=CUSTOMER,
            recipient=customer,
            template="billing_details_needed",
            facts={"address": f"{self._public_url}/billing-details"},
            subject=derived_id(BUYER_UNKNOWN, subscription, month),
            within=connection,
        )
        await self._notifications.alert(
            BUYER_UNKNOWN,
            subscription,
            (
                f"A subscription has no invoice for {month}: for this amount the law "
                "requires the buyer's address and, in some markets, the tax id. The "
                "customer was asked for them. Once they exist (PUT "
                f"/v1/customers/{{id}}/billing-details, or the customer's own page), "
                f"run './caas bill --month {month} --again' to issue and charge it."
            ),
            within=connection,
        )

    async def _month_due(self, job: Job) -> Answer:
        """Run the job: bill a past month in batches, then schedule the next month."""
        month = Month.parse(job.payload["month"])
        now = await self._runs.now()
        interval = month.interval(self._letterhead.zone)
        if now < interval.end:
            wait = min((interval.end - now).total_seconds(), LOOK_AGAIN_SECONDS_MAX)
            return RetryIn(wait, "the month has not ended")
        await self._schedule(month.next(), now)
        await self._begin(month)
        for _ in range(BATCHES_AT_ONCE_MAX):
            run = await self._advance(month)
            if run.finished_at is not None:
                return Done()
        return RetryIn(0.0, "more batches remain")

    async def _schedule(self, month: Month, now: datetime) -> None:
        """Schedule a month's billing; the time scale does not apply to calendar months."""
        wait = (month.interval(self._letterhead.zone).end - now).total_seconds()
        await self._tables.jobs.add(
            BILL_MONTH,
            derived_id(BILL_MONTH, month),
            due_in=max(wait, 0.0),
            payload={"month": str(month)},
        )

    def _series(self, now: datetime) -> str:
        """Return the invoice series, numbered by year of issue."""
        return self._letterhead.series_of(INVOICE, now)
