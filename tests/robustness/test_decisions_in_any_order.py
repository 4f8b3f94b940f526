"""Random lines, webhooks, decisions, reopenings and seals about payments: their money adds up.

Each payment lives some days of a world that is drawn from a seed. In the end the missing lines come
and everything open is decided. Then what the lines brought is with the bank, the clearing accounts
are empty, and each cent that is not revenue at the bank is lost, claimed, income or unexplained. In
between, no invariant is violated after any step.

The suite draws a few worlds; `make orders` draws many (`CAAS_ORDERS=all`).
"""

import os
import random
from collections.abc import Callable
from typing import Any, Final

import pytest

from caas.billing_database.discrepancies import Discrepancy
from caas.billing_database.invariants import INVARIANTS
from caas.billing_database.payments import Payment
from caas.errors import CaasError
from caas.external_systems.payment_gateway import DisputeStatus, GatewayDispute
from caas.payment_processing.disputes import Disputes
from caas.payment_processing.settlement import SettlementNotice
from caas.rules.discrepancies import Resolution
from caas.rules.payment_states import PaymentState
from tests.people import COMMAND_LINE
from tests.reconciliation.conftest import installation, office
from tests.reconciliation.crowd import crowd
from tests.reconciliation.office import Office

__all__ = ["installation", "office"]

WORLDS: Final = 60 if os.environ.get("CAAS_ORDERS") == "all" else 2
PAYMENTS, DAYS, ROUNDS_MAX = 8, 5, 30
WHOLE, PART, MORE, DISPUTED = 1299, 799, 2000, 300
LINES: Final = (
    ("settlement", WHOLE), ("settlement", WHOLE), ("settlement", PART), ("settlement", MORE),
    ("settlement", WHOLE - PART), ("settlement_failure", -WHOLE), ("settlement_failure", -PART),
    ("settlement_failure", 0), ("refund", -300), ("chargeback", -WHOLE), ("chargeback", -300),
    ("chargeback_reversal", WHOLE), ("chargeback_reversal", 300),
)  # fmt: skip
NEVER: Final = {Resolution.REFUND_THE_CUSTOMER, Resolution.WAIT}
CLEARING: Final = ("settled_funds", "gateway_receivable", "disputed_funds")
BALANCES: Final = """
select p.id, l.account, coalesce(sum(l.amount), 0)::bigint as amount from payments p
  join (select payment_id, unnest(array[debit, credit]) as account,
               unnest(array[amount, -amount]) as amount from ledger_entries
         union all
        select d.payment_id, unnest(array[e.debit, e.credit]), unnest(array[e.amount, -e.amount])
          from discrepancies d join discrepancy_entries e on e.discrepancy_id = d.id
         union all
        select l.payment_id, 'bank', l.gross from settlement_lines l where l.posts
         union all
        select l.payment_id, 'settled_funds', -l.gross from settlement_lines l where l.posts) l
    on l.payment_id = p.id group by p.id, l.account
"""
ABOUT: Final = [
    it
    for it in INVARIANTS
    if it.name in {
        "positions_are_explained", "lines_move_what_payments_account_for",
        "disputes_of_lines_are_those_lines", "losses_are_not_below_zero",
        "losses_of_disputes_are_not_below_zero", "refunds_wait_for_lines_of_their_own",
    }
]  # fmt: skip
OWN: Final = ("bank", "gateway_fees")


def place(found: Discrepancy) -> tuple[str, ...]:
    """Return where a discrepancy stands in an order that is the same in each run."""
    about = (found.payment_id, found.day, found.kind, f"{found.line_no or 0:04}", found.amount)
    return tuple(map(str, about))


class World:
    """What happens to some payments, drawn from a seed."""

    def __init__(self, office: Office, seed: int) -> None:
        self.office = office
        self.draw = random.Random(seed)
        self.payments: list[Payment] = []
        self.lines: dict[Any, list[tuple[str, int]]] = {}
        self.disputed: set[Any] = set()
        self.history: list[str] = []

    async def begin(self) -> None:
        """Capture the payments."""
        tables = self.office.installation.platform.tables
        for _ in range(PAYMENTS):
            self.payments += await crowd(tables, 1, first_amount=WHOLE)
        self.lines = {it.id: [] for it in self.payments}

    async def line(self, payment: Payment, type_: str, gross: int) -> None:
        """Put a line into the open report."""
        self.lines[payment.id].append((type_, gross))
        self.history.append(f"{str(payment.id)[-4:]} line {type_} {gross}")
        await self.office.line(payment, type=type_, gross=gross, fee=0)

    async def settles(self, payment: Payment) -> None:
        """Let a webhook of a settlement come."""
        await self.notice(payment, settled=True, amount=self.draw.choice([WHOLE, WHOLE, PART]))

    async def fails(self, payment: Payment) -> None:
        """Let a webhook of a failed settlement come."""
        await self.notice(payment, settled=False, amount=0)

    async def notice(self, payment: Payment, *, settled: bool, amount: int) -> None:
        """Let a webhook of a settlement come."""
        self.history.append(f"{str(payment.id)[-4:]} webhook {settled} {amount}")
        notice = SettlementNotice(
            settlement_id=str(len(self.history)),
            settled=settled,
            settled_amount=amount,
            currency=payment.currency,
        )
        processing = self.office.installation.platform.payment_processing
        await processing.record_settlement(payment.id, notice)

    async def disputes(self, payment: Payment) -> None:
        """Let a webhook of a dispute come."""
        status = self.draw.choice([DisputeStatus.OPENED, DisputeStatus.LOST, DisputeStatus.WON])
        await self.dispute(payment, status)

    async def dispute(self, payment: Payment, status: DisputeStatus) -> None:
        """Let a webhook say this of a payment's dispute."""
        self.history.append(f"{str(payment.id)[-4:]} dispute {status}")
        self.disputed.add(payment.id)
        reported = GatewayDispute(
            id=f"dsp_{payment.id}",
            transaction_id=payment.gateway_transaction_id or "",
            amount=DISPUTED,
            currency=payment.currency,
            status=status,
        )
        await Disputes(self.office.installation.platform.tables).on_event("contract", reported)

    async def day(self) -> None:
        """Let a day pass, with lines, webhooks, decisions, reopenings and perhaps a seal."""
        await self.office.days_pass(1)
        for payment in self.payments:
            for _ in range(self.draw.choice([0, 1, 1, 2])):
                await self.line(payment, *self.draw.choice(LINES))
            if self.draw.random() < 0.5:
                happens: Callable[..., Any] = self.draw.choice(
                    [self.settles, self.fails, self.disputes]
                )
                await happens(payment)
        await self.closed()
        for found in sorted(await self.office.found(), key=place):
            if found.status == "resolved" and self.draw.random() < 0.15:
                await self.reopened(found)
            elif found.status != "resolved" and self.draw.random() < 0.6:
                await self.decided(found)

    async def closed(self) -> None:
        """Reconcile the day, and end all work."""
        await self.office.closed()
        await self.office.installation.rest()

    async def decided(self, found: Discrepancy, *, ends: bool = False) -> None:
        """Decide a discrepancy in one of the ways that are offered."""
        investigation = self.office.reconciliation.investigation
        now = await investigation.check(found.id)
        offered = sorted(set(now.allowed) - NEVER)
        if ends and set(offered) - {Resolution.CLAIM_FROM_GATEWAY}:
            offered = sorted(set(offered) - {Resolution.CLAIM_FROM_GATEWAY})
        if not offered or now.discrepancy.status == "resolved":
            return
        chosen = self.draw.choice(offered)
        self.history.append(f"{str(found.payment_id)[-4:]} {found.kind} {found.amount}: {chosen}")
        await investigation.resolve(found.id, resolution=chosen, note="Seen.", by=COMMAND_LINE)
        await self.office.installation.rest()
        await self.holds()

    async def reopened(self, found: Discrepancy) -> None:
        """Reopen a decision, if that is possible."""
        self.history.append(f"{str(found.payment_id)[-4:]} reopens {found.kind} {found.amount}")
        try:
            await self.office.reconciliation.investigation.reopen(found.id, note="Look.", by="Luis")
        except CaasError as refusal:
            self.history[-1] += f": {type(refusal).__name__}"
        await self.office.installation.rest()
        await self.holds()

    async def sealed(self) -> None:
        """Seal each day that is closed."""
        for row in await self.office.installation.database.fetch(
            "select day from reconciliation_days where sealed_at is null order by day"
        ):
            try:
                await self.office.reconciliation.seal(row["day"], by="Luis")
            except CaasError:
                return

    async def ends(self) -> None:
        """Let the missing lines come, and decide everything that is open."""
        for payment in self.payments:
            if payment.id in self.disputed:
                await self.dispute(payment, DisputeStatus.LOST)
        found: list[Discrepancy] = []
        for _ in range(ROUNDS_MAX):
            await self.missing_lines()
            found = await self.office.found(unresolved=True)
            if not found:
                return
            for one in sorted(found, key=place):
                await self.decided(one, ends=True)
            await self.office.days_pass(1)
            await self.closed()
        raise AssertionError([(it.kind, it.status, it.resolution) for it in found])

    async def missing_lines(self) -> None:
        """Report what webhooks announced and no line has brought or taken."""
        for payment in self.payments:
            now = await self.office.payment(payment)
            lines = self.lines[payment.id]
            types = {type_ for type_, gross in lines if gross or type_ != "settlement"}
            taken_back = (await self.went(payment)) > 0
            if "settlement" not in types and (taken_back or now.settled_amount):
                await self.line(payment, "settlement", WHOLE)
            if taken_back and "settlement_failure" not in types:
                await self.line(payment, "settlement_failure", -WHOLE)
            if payment.id in self.disputed and "chargeback" not in types:
                await self.line(payment, "chargeback", -DISPUTED)
            if now.state is PaymentState.CAPTURING:
                await self.line(payment, "settlement", WHOLE)

    async def went(self, payment: Payment) -> int:
        """Return what the payment's records lost of its settlement."""
        [row] = await self.office.installation.database.fetch(
            "select coalesce(sum(amount), 0)::bigint as amount from ledger_entries"
            " where payment_id = $1 and credit = 'settled_funds'"
            " and debit in ('risk_loss:settlement_reversed', 'risk_loss:reversed_after_refund')",
            payment.id,
        )
        return int(row["amount"])

    async def holds(self) -> None:
        """Check the invariants of this money; all are checked in the end."""
        for invariant in ABOUT:
            rows = await self.office.installation.database.fetch(invariant.query)
            short = {str(row[0])[-4:] for row in rows}
            told = [it for it in self.history if it[:4] in short]
            assert not rows, self.story(invariant.name, told)

    @staticmethod
    def story(*told: object) -> str:
        """Return what happened, a line each."""
        lines = [it if isinstance(it, list) else [it] for it in told]
        return "\n".join(str(it) for line in lines for it in line)

    async def adds_up(self) -> None:
        """Check the balances of each payment against its lines, by this test's own sums."""
        balances: dict[Any, dict[str, int]] = {}
        for row in await self.office.installation.database.fetch(BALANCES):
            balances.setdefault(row["id"], {})[row["account"]] = row["amount"]
        for payment in self.payments:
            mine = balances[payment.id]
            at_bank = sum(mine.get(it, 0) for it in OWN)
            told = [it for it in self.history if it.startswith(str(payment.id)[-4:])]
            brought = sum(gross for _, gross in self.lines[payment.id])
            assert at_bank == brought, self.story(mine, told)
            left = {it: mine[it] for it in CLEARING if mine.get(it)}
            waits = sum(left.values())
            is_disputed = payment.id in self.disputed
            assert not waits or (is_disputed and abs(waits) <= DISPUTED), self.story(mine, told)
            losses = {it: amount for it, amount in mine.items() if it.startswith("risk_loss:")}
            assert all(amount >= 0 for amount in losses.values()), self.story(mine, told)
            explained = sum(losses.values()) + sum(
                mine.get(it, 0)
                for it in ("gateway_claims", "unexplained_funds", "unallocated_income")
            )
            assert at_bank + explained + waits == WHOLE, self.story(mine, told)


@pytest.mark.parametrize("seed", range(WORLDS))
async def test_every_cent_is_somewhere(office: Office, seed: int) -> None:
    world = World(office, seed)
    await world.begin()

    for day in range(DAYS):
        await world.day()
        if day % 2:
            await world.sealed()
    await world.ends()

    await world.holds()
    await world.adds_up()
