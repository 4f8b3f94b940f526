"""The reconciliation of a test: an installation and the gateway's reports."""

import asyncio
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import aiohttp
import asyncpg

from caas.billing_database.discrepancies import Discrepancy, DiscrepancyFilter
from caas.billing_database.payments import Payment
from caas.billing_database.settlement_reports import StoredLine
from caas.external_systems.payment_gateway import DisputeStatus, GatewayDispute
from caas.ota_activation_engine import ACTIVATE
from caas.payment_processing.disputes import Disputes
from caas.reconciliation import Reconciled, Reconciliation
from caas.rules.discrepancies import DiscrepancyKind, Resolution
from caas.rules.payment_states import PaymentState
from caas.rules.settlement_dates import (
    PaymentMethod,
    expected_settlement_date,
    target_closing_days,
)
from caas.rules.vehicle_signatures import SignedMessage
from caas_simulators.vehicle_car import Behaviour, Manner
from tests.installation import PATIENCE_SECONDS, VIN, Installation
from tests.people import COMMAND_LINE
from tests.reconciliation.crowd import crowd


@dataclass(slots=True)
class Office:
    """Everything a test of reconciliation talks to."""

    installation: Installation
    reconciliation: Reconciliation

    @property
    def today(self) -> date:
        """The gateway's date, which is the date of its open report."""
        return date.fromisoformat(self.installation.gateway.clock.today())

    async def closed(self, day: date | None = None) -> Reconciled:
        """Let the gateway close a day, and reconcile it."""
        day = day or self.today
        await self.installation.gateway_does("close-day", date=day.isoformat())
        return await self.reconciliation.reconcile(day)

    async def line(self, payment: Payment | None = None, **reported: Any) -> None:
        """Put a line into the gateway's open report, whatever it says."""
        row: dict[str, Any] = {
            "type": "settlement",
            "gross": 1299,
            "fee": 43,
            "net": 1256,
            "currency": "EUR",
            "transaction_id": "txn_alien",
        }
        if payment is not None:
            row |= {
                "transaction_id": payment.gateway_transaction_id,
                "reference": str(payment.id),
                "gross": payment.amount,
            }
        row |= reported
        row.setdefault("reference", None)
        row["net"] = row["gross"] - row["fee"]
        self.installation.gateway.reports.book_as_asked(None, **row)

    async def capturing(self, gateway: str = "contract") -> Payment:
        """Make a payment that is captured in our books; the gateway knows nothing of it."""
        [payment] = await crowd(
            self.installation.platform.tables, 1, first_amount=1299, gateway=gateway
        )
        return payment

    async def bought(self) -> Payment:
        """Buy a service and have it delivered; the bank has not spoken yet."""
        payment = await self.installation.buys()
        return await self.installation.until(
            payment.id, lambda p: p.state is PaymentState.CAPTURING and p.outcome == "known"
        )

    async def payment(self, payment: Payment) -> Payment:
        """Read a payment again."""
        return await self.installation.platform.tables.payments.get(payment.id)

    async def found(self, **asked: Any) -> list[Discrepancy]:
        """Return the discrepancies that are asked for."""
        return await self.reconciliation.discrepancies.listed(DiscrepancyFilter(**asked))

    async def lines_of(self, payment: Payment) -> list[StoredLine]:
        """Return the stored lines of a payment, in the order they were booked."""
        rows = await self.installation.database.fetch(
            "select report_id, line_no from settlement_lines where payment_id = $1"
            " order by booked_at, line_no",
            payment.id,
        )
        lines = [
            await self.reconciliation.reports.line(row["report_id"], row["line_no"]) for row in rows
        ]
        return [line for line in lines if line is not None]

    async def kinds(self) -> list[DiscrepancyKind]:
        """Return the kinds of all unresolved discrepancies."""
        return sorted(it.kind for it in await self.found(unresolved=True))

    async def balance(self, account: str) -> int:
        """Return what the ledger says of an account."""
        row = await self.installation.database.fetchrow(
            "select coalesce(sum(amount), 0)::bigint as sum from ledger_lines where account = $1",
            account,
        )
        assert row is not None
        return int(row["sum"])

    def later(self, days: int) -> date:
        """Return the date so many days from now."""
        return self.today + timedelta(days=days)

    async def days_pass(self, days: int) -> None:
        """Move the gateway's clock and the database's forward."""
        scale = self.installation.gateway.clock.scale
        await self.installation.gateway_does("advance", seconds=days * 86_400 * scale)
        owner = await asyncpg.connect(self.installation.database.dsn)
        await owner.execute("update caas.clock set moved = moved + make_interval(days => $1)", days)
        await owner.close()

    async def a_settlement_is_late(self) -> None:
        """Close the first day on which what is captured today should have been settled."""
        holidays = target_closing_days(self.today.year) | target_closing_days(self.today.year + 1)
        expected_on = expected_settlement_date(self.today, PaymentMethod.CARD, holidays)
        await self.days_pass((expected_on - self.today).days + 2)
        await self.closed(self.later(-1))

    async def resolved(self, resolution: Resolution) -> Discrepancy:
        """Resolve the one unresolved discrepancy, as Ana."""
        [found] = await self.found(unresolved=True)
        return await self.reconciliation.investigation.resolve(
            found.id, resolution=resolution, note="Seen.", by=COMMAND_LINE
        )

    async def gateway_disputes(self, payment: Payment) -> None:
        """Let the customer dispute a payment; its chargeback stands in the report at once."""
        await self.installation.gateway_does(
            f"transactions/{payment.gateway_transaction_id}/dispute"
        )

    async def told_of_dispute(
        self, payment: Payment, status: DisputeStatus = DisputeStatus.OPENED
    ) -> None:
        """Let the webhook of a dispute arrive."""
        reported = GatewayDispute(
            id=f"dsp_{payment.id}",
            transaction_id=payment.gateway_transaction_id or "",
            amount=payment.amount,
            currency=payment.currency,
            status=status,
        )
        await Disputes(self.installation.platform.tables).on_event("contract", reported)

    async def disputed(self, payment: Payment) -> None:
        """Let the customer dispute a payment, and tell us."""
        await self.gateway_disputes(payment)
        await self.told_of_dispute(payment)

    async def refund_order(self, payment: Payment, amount: int) -> None:
        """Refund some of a payment, to its end."""
        await self.installation.platform.payment_processing.refund_payment(
            payment.id, amount=amount, reason="desistimiento", key="once", requested_by="ops"
        )
        await self.installation.until(payment.id, lambda p: p.refunded_amount == amount)

    async def forget_lines_of(self, kind: str) -> None:
        """Make the gateway forget to list what it did."""
        for report in self.installation.gateway.reports._reports.values():
            for line in [line for line in report.lines if line.type == kind]:
                report.lines.remove(line)
                report.gross_total -= line.gross
                report.net_total -= line.net

    async def refunds_at_gateway(self, payment: Payment) -> list[dict[str, Any]]:
        """Return the refunds that the gateway's own books show of a payment."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(
                f"{self.installation.gateway_url}/transactions/{payment.gateway_transaction_id}/refunds",
                headers={"Authorization": "Bearer sk_simulated"},
            ) as answer,
        ):
            refunds: list[dict[str, Any]] = (await answer.json())["data"]
            return refunds

    async def voided_but_captured(self) -> Payment:
        """Void a payment, and let the gateway capture and settle it all the same."""
        self.installation.fleet.add(VIN, Manner(Behaviour.REFUSES))
        payment = await self.installation.buys()
        voided = await self.installation.until(payment.id, lambda p: p.state is PaymentState.VOIDED)
        assert voided.gateway_transaction_id is not None
        world = self.installation.gateway
        taken = world.store.bookings[voided.gateway_transaction_id].transaction
        taken.status, taken.captured_amount, taken.settled_amount = "settled", 1299, 1299
        await self.line(voided, gross=1299)
        return voided

    async def refunded_at_gateway(self, payment: Payment) -> None:
        """Let jobs be done until the gateway has given everything back."""
        assert payment.gateway_transaction_id is not None
        taken = self.installation.gateway.store.bookings[payment.gateway_transaction_id].transaction
        async with asyncio.timeout(PATIENCE_SECONDS):
            while taken.refunded_amount < taken.captured_amount:
                await self.installation.platform.jobs.run_due()
                await self.installation.gateway_does("settle")
                await asyncio.sleep(0.01)

    def gateway_took(self, payment: Payment, amount: int) -> None:
        """Let the gateway have taken so much for a payment."""
        assert payment.gateway_transaction_id is not None
        taken = self.installation.gateway.store.bookings[payment.gateway_transaction_id].transaction
        taken.amount = taken.captured_amount = taken.settled_amount = amount

    async def unknown(self) -> Payment:
        """Buy something, and lose every answer of the gateway."""
        for operation, action in (
            ("initiate", {"drop_connection_after": True}),
            ("find", {"status": 503}),
        ):
            await self.installation.gateway_does(
                "faults", match={"operation": operation}, action=action
            )
        payment = await self.installation.buys()
        return await self.installation.until(payment.id, lambda p: p.outcome == "unknown")

    async def transaction_id_of(self, payment: Payment) -> str:
        """Return what the gateway calls a payment's transaction."""
        [found] = [
            booking.transaction.id
            for booking in self.installation.gateway.store.bookings.values()
            if booking.transaction.reference == str(payment.id)
        ]
        return found

    async def delivered_after_void(self) -> Payment:
        """Void a payment, and have the vehicle say later that it applied the service after all."""
        self.installation.fleet.add(VIN, Manner(Behaviour.REFUSES))
        payment = await self.installation.buys()
        voided = await self.installation.until(payment.id, lambda p: p.state is PaymentState.VOIDED)
        command = await self.installation.platform.tables.commands.last_of(voided.id, ACTIVATE)
        assert command is not None
        word = SignedMessage(
            vin=VIN, command_id=str(command.command_id), epoch=command.epoch,
            payment_id=str(voided.id), service=command.service, action="activate",
            status="SUCCEEDED", at="now",
        )  # fmt: skip
        await self.installation.database.fetch(
            "insert into delivery_evidence (id, subject, kind, command_id, action, epoch, vin,"
            " service, status, at, signature, verified, recorded_at) select gen_random_uuid(),"
            " subject, 'vehicle_acknowledgement', command_id, action, epoch, vin, service,"
            " 'SUCCEEDED', $3, $2, true, db_now() from ota_commands where command_id = $1",
            command.command_id, self.installation.signature(word), word.at,
        )  # fmt: skip
        return voided
