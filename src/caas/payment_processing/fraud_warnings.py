"""Cases for card issuers' warnings of fraud (decision 206).

A warning is no dispute yet: it takes no money. Where it names a payment of ours whose money is held
or was taken, a case says what is known and offers the refund, which prevents the chargeback and its
fee. A person decides.

A gateway lists its warnings, reports them by webhook, or both. A webhook may come before the
payment's own report; it waits then, and while a running refund leaves nothing to be given back.

Rules a change must keep: a warning moves no money by itself; it is a case once, however often it is
listed or reported.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from caas.billing_database.connection import Database
from caas.billing_database.identifiers import derived_id
from caas.billing_database.job_rows import Job
from caas.billing_database.payments import Payment, PaymentNotFoundError
from caas.billing_database.refunds import Refunds as RefundRows
from caas.billing_database.tables import BillingDatabase
from caas.external_systems.gateway_fraud_warnings import FraudWarning, FraudWarningGateway
from caas.external_systems.http_answers import GatewayFailure
from caas.jobs import Answer, Done, JobQueue, RetryIn
from caas.payment_processing.flow import Alert
from caas.rules.money import Money
from caas.rules.payment_states import PaymentState

CHECK_FRAUD_WARNINGS: Final = "check_fraud_warnings"
FRAUD_WARNING: Final = "fraud_warning"
EVERY_SECONDS: Final = 3_600.0
AFTER_FAILURE_SECONDS: Final = 600.0
LISTED_FOR: Final = timedelta(days=3)
STRANGER_SECONDS: Final = 30.0
STRANGER_ATTEMPTS_MAX: Final = 10
"""A warning of a payment that stays unknown, as of another merchant's, is dropped after these."""

BEFORE_FUNDS: Final = frozenset({PaymentState.INITIATED, PaymentState.PENDING})
NOW: Final = "select db_now()"
TO_DO: Final = {
    PaymentState.AUTHORIZED: "Nothing was captured yet: void it, if the order should not stand.",
    PaymentState.CAPTURING: "Refund it from its page, if the order should not stand.",
    PaymentState.REFUNDING: "Refund the rest from its page, if the order should not stand.",
    PaymentState.SETTLED: "Refund it from its page, if the order should not stand.",
}
"""What a person can do about a payment, by its state; nothing in any other."""


class FraudWarnings:
    """Opens cases for the warnings that gateways list."""

    def __init__(
        self, *, tables: BillingDatabase, gateways: Sequence[object], alert: Alert
    ) -> None:
        """Ask these gateways; those without warnings are left out."""
        self._tables = tables
        self._alert = alert
        self._rows = RefundRows(tables.database)
        self._gateways = {it.name: it for it in gateways if isinstance(it, FraudWarningGateway)}

    def register(self, jobs: JobQueue) -> None:
        """Register the hourly job."""
        jobs.register(CHECK_FRAUD_WARNINGS, self._check)

    async def begin(self) -> None:
        """Schedule the hourly job of each gateway; idempotent."""
        await self._tables.jobs.add_all(
            [
                (CHECK_FRAUD_WARNINGS, derived_id("fraud warnings", name), 0.0, {"gateway": name})
                for name in self._gateways
            ]
        )

    async def _check(self, job: Job) -> Answer:
        gateway = self._gateways.get(str(job.payload["gateway"]))
        if gateway is None:
            return RetryIn(EVERY_SECONDS, "the gateway is not configured", begins_anew=True)
        since = await _now(self._tables.database) - LISTED_FOR
        try:
            warnings = await gateway.fraud_warnings(since)
        except GatewayFailure as failure:
            return RetryIn(AFTER_FAILURE_SECONDS, failure.sentence)
        for warning in warnings:
            await self.on_event(gateway.name, warning)
        return RetryIn(EVERY_SECONDS, begins_anew=True)

    async def on_event(self, gateway: str, warning: FraudWarning, attempts: int = 1) -> Answer:
        """Open a case for a warning, once something can be done about its payment."""
        payment = await self._payment_of(gateway, warning)
        wait = STRANGER_SECONDS * min(attempts, STRANGER_ATTEMPTS_MAX)
        if payment is None:
            known_by_now = attempts >= STRANGER_ATTEMPTS_MAX
            return Done() if known_by_now else RetryIn(wait, "its payment is not known here")
        if payment.state in BEFORE_FUNDS:
            return RetryIn(wait, "its payment has no funds yet")
        if payment.gateway_transaction_id != warning.transaction_id or payment.state not in TO_DO:
            return Done()
        if payment.state is PaymentState.REFUNDING and not await self._is_left(payment):
            return RetryIn(wait, "a refund of all of its payment is under way")
        await self._open(payment, warning)
        return Done()

    async def _payment_of(self, gateway: str, warning: FraudWarning) -> Payment | None:
        """Return the payment of a warning, by its transaction or by our reference."""
        payment = await self._tables.payments.by_transaction(gateway, warning.transaction_id)
        if payment is not None or not warning.reference:
            return payment
        try:
            named = await self._tables.payments.get(UUID(warning.reference))
        except (ValueError, PaymentNotFoundError):
            return None
        return named if named.gateway == gateway else None

    async def _is_left(self, payment: Payment) -> bool:
        """Return whether something is left that neither a refund nor a dispute has taken."""
        async with self._tables.database.transaction() as connection:
            given_back = await self._rows.given_back(payment.id, within=connection)
        return given_back < payment.captured_amount

    async def _open(self, payment: Payment, warning: FraudWarning) -> None:
        """Open a case and alert, unless the payment had such a case before."""
        kind = FRAUD_WARNING
        if await self._tables.cases.listed(status=None, subject=payment.id, kind=kind):
            return
        amount = Money(payment.amount, payment.currency)
        sentence = (
            f"The card's issuer warns that this payment of {amount} may be fraudulent "
            f"({warning.reason}, {warning.id}). It is {payment.state}. {TO_DO[payment.state]} "
            "A refund now prevents a chargeback and its fee."
        )
        await self._alert(kind, payment.id, sentence)


async def _now(database: Database) -> datetime:
    row = await database.fetchrow(NOW)
    assert row is not None, "there is always a now"
    now: datetime = row[0]
    return now
