"""The deposit of a lost reservation, whatever its customer's bank says before and after.

A deposit that the policy gives back was known by its refund alone: where a bank had all of it when
the reservation was lost there was no refund, and a reversal left the customer's money with us.
"""

import itertools
from collections.abc import Sequence
from typing import Any, Final

import pytest

from caas.billing_database.cases import DEPOSIT_HELD
from caas.billing_database.connection import Database
from caas.billing_database.gateway_calls import GatewayCalls
from caas.billing_database.invariants import INVARIANTS
from caas.billing_database.orders import Order
from caas.billing_database.payments import Payment
from caas.external_systems.payment_gateway import DisputeStatus, GatewayDispute
from caas.order_management.held_deposits import DepositDecision, DepositOnForfeiture
from caas.payment_processing.disputes import Disputes
from caas.payment_processing.gateways import Gateways
from caas.payment_processing.refunds import Refunds
from caas.rules.payment_states import PaymentState
from caas.rules.payment_types import PaymentType
from tests.databases import over_everything
from tests.people import employed
from tests.showroom import DEPOSIT, PACE, Showroom, World, opened, simulated_world

WORDS: Final = ("opened", "lost", "won")
WITHOUT_DECISION: Final = {DepositOnForfeiture.REFUND: "refund", DepositOnForfeiture.KEEP: "keep"}


def orders(*beside: str) -> list[tuple[str, ...]]:
    """Return every order of a dispute's words and of what happens beside them, in its order."""
    every = itertools.permutations((*WORDS, *beside))
    return [
        one
        for one in every
        if all([it for it in one if it in kept] == list(kept) for kept in (WORDS, beside))
    ]


async def happens(
    reconciliation: Showroom, order: Order, deposit: Payment, what: str, amount: int
) -> None:
    """Let one thing come."""
    if what == "reservation lost":
        await reconciliation.pay_rest(order, "pm_declined")
    elif what not in WORDS:
        investigation, decision = reconciliation.orders.held_deposits, DepositDecision(what)
        carla, luis = [await employed(reconciliation.database, name) for name in ("carla", "luis")]
        await investigation.decide(deposit.id, decision, note="So it is.", by=carla)
        await investigation.agree(deposit.id, by=luis)
    else:
        word = GatewayDispute(
            id=f"dp_{deposit.id}", transaction_id=deposit.gateway_transaction_id or "",
            amount=amount, currency=deposit.currency, status=DisputeStatus(what),
        )  # fmt: skip
        await Disputes(reconciliation.tables).on_event("contract", word)
    await reconciliation.jobs.run_due()


async def lives(
    reconciliation: Showroom, order: Sequence[str], amount: int, method: str, *, settled: bool
) -> Payment:
    """Reserve, and let what happens happen; return the deposit's payment."""
    bought = await reconciliation.ordered(await reconciliation.stock())
    await reconciliation.reserve(bought, method)
    bought = await reconciliation.orders.orders.get(bought.id)
    bought = await reconciliation.orders.partner_events.vehicle_ready(
        vin=bought.vin or "", public_key=bytes(32), factory_order_id=bought.factory_order_id
    )
    [deposit] = await reconciliation.tables.payments.listed(subject=bought.id)
    assert deposit.type is PaymentType.RESERVATION
    if settled:
        await reconciliation.world.gateway("POST", "settle", {"reference": str(deposit.id)})
        await reconciliation.work_until_payment(deposit.id, PaymentState.SETTLED)
    for what in order:
        await happens(reconciliation, bought, deposit, what, amount)
    return deposit


async def all_goes_out(reconciliation: Showroom) -> None:
    """Let every refund that nothing stands in the way of go out and end."""

    async def gone() -> bool:
        await reconciliation.world.gateway("POST", "settle", {})
        return not await reconciliation.database.fetch(
            "select from jobs where kind in ('refund', 'promised_refund', 'refund_order')"
        )

    await reconciliation.work_until(gone)


async def at_gateway(world: World, payment: Payment) -> int:
    """What the gateway has refunded of a payment."""
    reported: dict[str, Any] = await world.gateway("GET", f"ledger?reference={payment.id}")
    return sum(int(one["refunded"]) for one in reported["transactions"])


def cases(policy: DepositOnForfeiture) -> list[tuple[tuple[str, ...], str]]:
    """Return what happens in which order, and what becomes of the deposit in the end."""
    if policy is not DepositOnForfeiture.HOLD:
        return [(order, WITHOUT_DECISION[policy]) for order in orders("reservation lost")]
    every = [(order, d) for d in DepositDecision for order in orders("reservation lost", d)]
    return [(order, str(decision)) for order, decision in every][::3]


@pytest.mark.parametrize("policy", list(DepositOnForfeiture))
async def test_a_disputed_deposit_ends_as_was_decided_in_every_order(
    database: Database, policy: DepositOnForfeiture
) -> None:
    ended, life = [], itertools.count()
    async with (
        simulated_world() as world,
        opened(database, world, reservation_deposit_on_forfeiture=policy) as reconciliation,
    ):
        for (order, decision), amount, method in itertools.product(
            cases(policy), (DEPOSIT.amount, 40_000), ("pm_ok", "pm_refund_fails")
        ):
            deposit = await lives(
                reconciliation, order, amount, method, settled=next(life) % 2 == 0
            )
            ended.append((deposit, order, decision, amount, method))
        await all_goes_out(reconciliation)
        forgotten = [
            invariant.name
            for invariant in INVARIANTS
            if await database.fetch(over_everything(invariant.query))
        ]
        for deposit, order, decision, amount, method in ended:
            after = await reconciliation.tables.payments.get(deposit.id)
            back = DEPOSIT.amount if (decision, method) == ("refund", "pm_ok") else 0
            sums = (after.refunded_amount, await at_gateway(world, deposit))
            assert (sums, after.disputed_amount) == ((back, back), 0), (order, amount, method)
    assert forgotten == []


async def test_a_deposit_that_is_being_refunded_in_part_is_held_like_any_other(
    database: Database,
) -> None:
    """Its payment was neither Capturing nor Settled, and what was left was kept in silence."""
    async with simulated_world() as world, opened(database, world) as reconciliation:
        order = await reconciliation.ready()
        [deposit] = await reconciliation.tables.payments.listed(subject=order.id)
        await world.gateway("POST", "settle", {})
        await reconciliation.work_until_payment(deposit.id, PaymentState.SETTLED)
        refunds = Refunds(
            tables=reconciliation.tables,
            gateways=Gateways(
                [reconciliation.gateway], GatewayCalls(reconciliation.tables.database)
            ),
            time_scale=PACE,
            notifications=reconciliation.notifications,
        )
        await refunds.request(
            deposit.id, amount=100, reason="goodwill", key="k", requested_by="ops"
        )

        await reconciliation.pay_rest(order, "pm_declined")

        now = await reconciliation.tables.payments.get(deposit.id)
        held = await reconciliation.tables.cases.listed(kind=DEPOSIT_HELD, subject=deposit.id)
    assert (now.state, len(held)) == (PaymentState.REFUNDING, 1)
