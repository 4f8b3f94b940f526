"""A refund, a dispute and the lines of a report about one payment, in every order that is possible.

The payment is of a one-time service, a deposit or a month of a subscription, and the gateway has
settled it. A refund of all of it or a part is asked for and fails or succeeds; the customer
disputes all or a part, the bank decides and changes its mind; the settlement and the chargeback
stand in a report. Each of these is done at the gateway, and told to us, at its place in the order.
Some disputes are told by webhooks, some by the report alone. In the end our books are the gateway's
to the cent, and no refund was sent beside an open dispute.

The suite takes an even part of the orders; `make orders` takes all (`CAAS_ORDERS=all`). What is
paid for, and whether all of it or a part is refunded and disputed, changes from one to the next.

Fault F-D1.
"""

import csv
import hashlib
import itertools
import json
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

import pytest

from caas.billing_database.discrepancies import DiscrepancyFilter
from caas.billing_database.webhook_inbox import Incoming, WebhookInbox
from caas.errors import RefusedError
from caas.payment_processing.outgoing_money import APPLY_WEBHOOK
from caas.reconciliation import INCREMENTAL
from caas.rules.discrepancies import DiscrepancyKind, Resolution
from caas.rules.mes_vencido import Month
from caas.rules.money import Money
from caas.rules.payment_types import PaymentType
from caas_simulators.gateway_world import GatewaySettings
from tests.business_day import business_day
from tests.people import COMMAND_LINE
from tests.robustness.living_world import MADRID, LivingWorld, Process, living_world
from tests.robustness.stories import (
    buys_service,
    heated_seats,
    ordered,
    reserves,
    subscriber,
    subscribes,
)
from tests.robustness.three_ledgers import PERPETUAL

ALL = os.environ.get("CAAS_ORDERS") == "all"
EVERY = 1 if ALL else 45
SIDE_BY_SIDE = 40
ROUNDS_MAX: Final = 40
QUIET_SECONDS = 0.004
DAY_SECONDS: Final = 86_400.0
DEPOSIT: Final = Money(20_000, "EUR")
"""No more than one person may decide about."""
COLUMNS = (
    "line_no", "batch_id", "transaction_id", "reference", "type", "gross", "fee", "net",
    "currency", "booked_at", "value_date",
)  # fmt: skip
WAKE = "update caas.jobs set due_at = caas.db_now() where kind <> all ($1)"
CHARGED = """
select s.vin, p.id, p.amount from caas.invoices i join caas.subscriptions s on s.id = i.subscription
  join caas.payments p on p.subject = i.id where i.kind = 'invoice'
"""
LEFT = """
select kind, subject::text, last_error from caas.jobs where kind <> all ($1) order by kind
"""
CASES = """
select distinct kind from caas.cases where status = 'open'
   and kind not in ('refund_failed', 'dispute_of_refunded')
"""
ENDED = """
select p.id::text as reference, p.state, p.refunded_amount as refunded,
       (select coalesce(sum(d.claimed_amount), 0)::bigint from caas.disputes d
         where d.payment_id = p.id and d.state in ('opened', 'lost')) as disputed,
       (select coalesce(sum(l.amount), 0)::bigint from caas.ledger_lines l
         where l.payment_id = p.id and l.account = 'settled_funds') as settled_funds
  from caas.payments p
"""
# A refund that went out while a dispute of the payment was open, by the order of the events.
SENT_BESIDE = """
select e.payment_id::text from caas.payment_events e where e.event = 'Refund requested'
   and (select b.event from caas.payment_events b
         where b.payment_id = e.payment_id and b.seq < e.seq and b.event like 'Dispute %'
           and b.event <> 'Dispute counted'
         order by b.seq desc limit 1) = 'Dispute opened'
"""


class Step(Enum):
    """What happens, and is told, at one place of an order."""

    ASK = "a refund is asked for"
    ANSWER = "it fails, or succeeds"
    OPEN = "the customer disputes"
    DECIDE = "the bank decides"
    REVERSE = "the bank changes its mind"
    SETTLEMENT_LINE = "the settlement's line"
    CHARGEBACK_LINE = "the chargeback's line"


NOBODY = UUID(int=0)
BEFORE = (
    (Step.ASK, Step.ANSWER), (Step.OPEN, Step.DECIDE), (Step.DECIDE, Step.REVERSE),
    (Step.OPEN, Step.CHARGEBACK_LINE),
)  # fmt: skip
ORDERS = [
    order
    for order in itertools.permutations(Step)
    if all(order.index(first) < order.index(then) for first, then in BEFORE)
]
LIVES = list(itertools.product(ORDERS, ("pm_ok", "pm_refund_fails"), ("won", "lost")))[::EVERY]
MINORITY: Final = (2, 5)
"""The part that is refunded or disputed where it is not all."""


class Kind(NamedTuple):
    """What is paid for, and whether all of it is refunded, and disputed."""

    type: PaymentType
    refunds_all: bool
    disputes_all: bool


KINDS: Final = [
    Kind(*it)
    for it in itertools.product(
        (PaymentType.SERVICE, PaymentType.RESERVATION, PaymentType.SUBSCRIPTION),
        (False, True), (True, False),
    )
]  # fmt: skip


def kind_of(number: int) -> Kind:
    """Return another kind for each life, and not always the same one for a method or a verdict."""
    return KINDS[(number + number // len(KINDS)) % len(KINDS)]


@dataclass(slots=True)
class Life:
    """A payment, and what happens to it in which order."""

    order: Sequence[Step]
    method: str
    verdict: str
    kind: Kind
    number: int
    amount: int = 0
    payment: UUID = NOBODY
    subject: UUID = NOBODY
    transaction: str = ""
    dispute: str = ""
    words: int = 0

    @property
    def vin(self) -> str:
        """A vehicle of its own."""
        return f"WVWZZZ1JZXM{self.number:06d}"

    @property
    def refunded(self) -> int:
        """What is asked back."""
        return self.amount if self.kind.refunds_all else self.amount * MINORITY[0] // MINORITY[1]

    @property
    def disputed(self) -> int:
        """What is disputed."""
        return self.amount if self.kind.disputes_all else self.amount * MINORITY[0] // MINORITY[1]


@dataclass(slots=True)
class Office:
    """The report as far as it was told, and who tells it."""

    world: LivingWorld
    process: Process
    by_webhook: bool
    path: Path
    reported: list[dict[str, Any]] = field(default_factory=list)
    stored: int = 0
    orders: dict[str, Sequence[Step]] = field(default_factory=dict)

    async def say(self, type_: str, data: dict[str, Any], life: Life) -> None:
        """Store a webhook as the Webhook Handler does."""
        life.words += 1
        event = f"evt_{life.payment.hex}_{life.words}"
        body = json.dumps({
            "id": event, "type": type_, "data": data,
            "occurred_at": f"2026-11-23T10:{life.words:02d}:00Z",
        })  # fmt: skip
        inbox = WebhookInbox(self.process.platform.tables.database)
        incoming = Incoming(
            gateway="contract",
            event_id=event,
            body_hash=hashlib.sha256(body.encode()).digest(),
            body=body,
            job_kind=APPLY_WEBHOOK,
        )
        await self.process.call(lambda: inbox.store(incoming))

    async def get(self, path: str) -> Any:
        """Ask the gateway, as anybody with a key may."""
        headers = {"Authorization": "Bearer sk_simulated"}
        async with self.world.http.get(f"{self.world.gateway_url}/{path}", headers=headers) as got:
            assert got.ok, await got.text()
            return await got.json()

    async def lines(self) -> list[dict[str, Any]]:
        """Return every line of the gateway's report."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = await self.get(f"settlements?date={self.today}&limit=5000&cursor={cursor}")
            found += page["data"]
            cursor = page["next_cursor"]
            if cursor is None:
                return found

    @property
    def today(self) -> str:
        """The day of the gateway's report."""
        return business_day(self.world.now()).isoformat()

    async def reconcile(self) -> None:
        """Tell us the report as far as it is to be told."""
        if len(self.reported) == self.stored:
            return
        self.stored = len(self.reported)
        with self.path.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for number, line in enumerate(self.reported, 1):
                writer.writerow([number, *(line[name] for name in COLUMNS[1:])])
        day = date.fromisoformat(self.today)
        reconciliation = self.process.platform.reconciliation
        await self.process.call(
            lambda: reconciliation.reconcile(day, file=self.path, mode=INCREMENTAL)
        )

    async def rest(self) -> None:
        """Let the process do all that is due now, and what would be due in a while."""
        await self.world.owner.execute(WAKE, PERPETUAL)
        await self.process.idle(QUIET_SECONDS)
        while await self.process.call(self.process.platform.jobs.run_due):
            await self.process.idle(QUIET_SECONDS)


@pytest.fixture
async def world(server_dsn: str) -> AsyncIterator[LivingWorld]:
    """A world in which neither we nor the gateway does anything only because time passes."""
    settings = GatewaySettings(seed=1, time_scale=1.0)
    async with living_world(server_dsn, gateway_settings=settings) as built:
        built.time_scale = 1.0
        yield built


@pytest.mark.parametrize("by_webhook", [True, False], ids=["by webhooks", "by the report alone"])
async def test_our_books_end_as_the_gateway_s_whatever_came_when(
    world: LivingWorld, tmp_path: Path, *, by_webhook: bool
) -> None:
    process = await world.process()
    office = Office(world, process, by_webhook, tmp_path / "report.csv")

    every = [Life(*it, kind_of(number), number) for number, it in enumerate(LIVES)]
    await months_charged(office, [it for it in every if it.kind.type is PaymentType.SUBSCRIPTION])
    for first in range(0, len(every), SIDE_BY_SIDE):
        lives = every[first : first + SIDE_BY_SIDE]
        await bought(office, lives)
        for place in range(len(Step)):
            for life in lives:
                await STEPS[life.order[place]](office, life)
            await office.reconcile()
            await office.rest()
        await told_to_the_end(office)

    found = await differences(office)
    assert not found, "\n".join(map(str, found))


async def bought(office: Office, lives: Sequence[Life]) -> None:
    """Let customers buy, and the bank pay; of that we hear nothing."""
    world, process = office.world, office.process
    for life in lives:
        if life.kind.type is PaymentType.SUBSCRIPTION:
            continue
        if life.kind.type is PaymentType.SERVICE:
            request = await heated_seats(world, process, life.method, vin=life.vin)
        else:
            request = await ordered(process, life.method, vin=life.vin, deposit=DEPOSIT)
        pays = buys_service if life.kind.type is PaymentType.SERVICE else reserves
        paid: Any = await process.call(partial(pays, process.platform, request))
        life.payment, life.amount, life.subject = paid.id, paid.amount, paid.subject
    await office.rest()
    await world.gateway("POST", "settle")
    ledger = (await world.gateway("GET", "ledger"))["transactions"]
    known_as = {one["reference"]: one["transaction_id"] for one in ledger}
    for life in lives:
        life.transaction = known_as[str(life.payment)]
        office.orders[str(life.payment)] = life.order


async def months_charged(office: Office, lives: Sequence[Life]) -> None:
    """Let customers subscribe in the month before, and be charged for it now."""
    world, process = office.world, office.process
    month = Month.containing(world.now(), MADRID).previous()
    ago = (world.now() - month.interval(MADRID).start).total_seconds() - DAY_SECONDS
    await world.pass_time(-ago)
    for life in lives:
        begun = await subscriber(world, process, vin=life.vin)
        await process.call(
            partial(subscribes, process.platform, begun, vin=life.vin, method=life.method)
        )
    await office.rest()
    await world.pass_time(ago)
    await process.call(lambda: process.platform.billing.run_month(month))
    for row in await world.owner.fetch(CHARGED):
        [life] = [it for it in lives if it.vin == row["vin"]]
        life.payment, life.amount = row["id"], row["amount"]


async def ask(office: Office, life: Life) -> None:
    """Withdraw, or ask for a refund, which half are promised whatever stands in the way."""
    payments = office.process.platform.payment_processing
    if life.kind.refunds_all and life.kind.type is PaymentType.SERVICE:
        await office.process.call(
            lambda: payments.withdraw_from_service(life.subject, requested_by="ops")
        )
        return
    promised = life.payment.int % 2
    door = payments.promise_refund if promised else payments.refund_payment
    asked: dict[str, Any] = {
        "amount": life.refunded,
        "reason": "desistimiento",
        "key": "k",
        "requested_by": "ops",
    }
    try:
        await office.process.call(lambda: door(life.payment, **asked))
    except RefusedError as refusal:
        assert refusal.code in {"refund_must_wait", "refund_too_large"}  # noqa: PT017


async def answer(office: Office, life: Life) -> None:
    """Let the gateway's bank answer for the refund, when there is one."""
    await office.world.gateway("POST", "settle", {"reference": str(life.payment)})
    for refund in (await office.get(f"transactions/{life.transaction}/refunds"))["data"]:
        await office.say(f"refund.{refund['status']}", refund, life)


async def open_dispute(office: Office, life: Life) -> None:
    """Let the customer dispute what they paid, or a part of it."""
    reported = {"amount": life.disputed}
    await office.world.gateway("POST", f"transactions/{life.transaction}/dispute", reported)
    ledger = await office.world.gateway("GET", f"ledger?reference={life.payment}")
    [life.dispute] = ledger["transactions"][0]["dispute_ids"]
    await word_of_dispute(office, life, "opened")


async def decide(office: Office, life: Life) -> None:
    """Let the bank decide."""
    await verdict(office, life, life.verdict)


async def reverse(office: Office, life: Life) -> None:
    """Let the bank decide otherwise."""
    await verdict(office, life, {"won": "lost", "lost": "won"}[life.verdict])


async def verdict(office: Office, life: Life, outcome: str) -> None:
    """Let the gateway decide the dispute, and tell it."""
    path = f"transactions/{life.transaction}/dispute"
    await office.world.gateway("POST", path, {"outcome": outcome})
    await word_of_dispute(office, life, outcome)


async def word_of_dispute(office: Office, life: Life, status: str) -> None:
    """Let the webhook of a dispute come, where disputes are told by webhooks."""
    if office.by_webhook:
        data = {
            "id": life.dispute, "transaction_id": life.transaction,
            "amount": life.disputed, "currency": "EUR", "status": status, "reason": "fraudulent",
            "reference": str(life.payment),
        }  # fmt: skip
        await office.say(f"dispute.{status}", data, life)


async def settlement_line(office: Office, life: Life) -> None:
    """Let the report tell of the settlement."""
    await tell_lines(office, life, {"settlement"})


async def chargeback_line(office: Office, life: Life) -> None:
    """Let the report tell what was taken, and given back, until now."""
    await tell_lines(office, life, {"chargeback", "chargeback_reversal"})


async def tell_lines(office: Office, life: Life, types: set[str]) -> None:
    """Put the lines of these types that were not told yet into the report."""
    reported = {line["line_no"] for line in office.reported}
    office.reported += [
        line
        for line in await office.lines()
        if line["transaction_id"] == life.transaction
        and line["type"] in types
        and line["line_no"] not in reported
    ]


STEPS: Final = {
    Step.ASK: ask,
    Step.ANSWER: answer,
    Step.OPEN: open_dispute,
    Step.DECIDE: decide,
    Step.REVERSE: reverse,
    Step.SETTLEMENT_LINE: settlement_line,
    Step.CHARGEBACK_LINE: chargeback_line,
}


async def told_to_the_end(office: Office) -> None:
    """Tell the rest of the report; a clerk accepts what only the report told; all work ends."""
    for _ in range(ROUNDS_MAX):
        reported = {line["line_no"] for line in office.reported}
        news = [line for line in await office.lines() if line["line_no"] not in reported]
        office.reported += news
        await office.reconcile()
        decided = await clerk(office)
        if not news and not decided and not await office.world.owner.fetch(LEFT, PERPETUAL):
            return
        await office.world.gateway("POST", "settle")
        await office.rest()
    raise AssertionError("it never grew quiet")


async def clerk(office: Office) -> int:
    """Accept every chargeback that nobody told us of but the report; return how many."""
    reconciliation = office.process.platform.reconciliation
    if office.by_webhook:
        return 0
    found = await office.process.call(
        lambda: reconciliation.discrepancies.listed(DiscrepancyFilter(unresolved=True))
    )
    for one in sorted(found, key=lambda it: it.line_no or 0):
        came_back = one.kind is DiscrepancyKind.CHARGEBACK_REVERSAL
        await office.process.call(
            partial(
                reconciliation.investigation.resolve,
                one.id,
                resolution=(
                    Resolution.REINSTATE_THE_PAYMENT if came_back else Resolution.ACCEPT_LOSS
                ),
                note="Seen.",
                by=COMMAND_LINE,
            )
        )
    return len(found)


async def differences(office: Office) -> list[object]:
    """Return every difference between the gateway's books and ours, and what is left to do."""
    world = office.world
    ledger = {
        one["reference"]: one for one in (await world.gateway("GET", "ledger"))["transactions"]
    }
    taken: dict[str, int] = {}
    for line in office.reported:
        if line["type"] in {"chargeback", "chargeback_reversal"}:
            taken[line["reference"]] = taken.get(line["reference"], 0) - line["gross"]
    found: list[object] = [
        f"{dict(row)}, the gateway: {ledger[row['reference']]}, {taken.get(row['reference'], 0)} "
        f"taken, {[step.name for step in office.orders[row['reference']]]}"
        for row in await world.owner.fetch(ENDED)
        if row["refunded"] != ledger[row["reference"]]["refunded"]
        or row["disputed"] != taken.get(row["reference"], 0)
        or row["settled_funds"] != 0
    ]
    bank = await world.owner.fetchval(
        "select sum(amount)::bigint from caas.ledger_lines where account = 'bank'"
    )
    if bank != sum(line["net"] for line in office.reported):
        found.append(f"the bank has {bank}")
    found += [f"sent beside a dispute: {row[0]}" for row in await world.owner.fetch(SENT_BESIDE)]
    found += [dict(row) for row in await world.owner.fetch(CASES)]
    found += [
        dict(row)
        for row in await world.owner.fetch(
            "select kind, facts from caas.discrepancies d join caas.discrepancy_events e"
            " on e.discrepancy_id = d.id and e.seq = 1 where d.status <> 'resolved'"
        )
    ]
    return found + await world.violated_invariants()
