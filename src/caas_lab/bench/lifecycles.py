"""P1: complete lifecycles of a one-time service, from accept to Settled, five commits each.

The flow is the platform's own, including the vehicle's signature. Gateway and vehicles are in this
process, so the measurement covers the flow and the database. Jobs for workers (customer
notifications) are enqueued but not run.

Rule a change must keep: no step of the flow is omitted or made less durable.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from caas.billing_database.connection import Connection
from caas.billing_database.payments import Payment
from caas.billing_database.transitions import Transition, TransitionResult
from caas.payment_processing import PaymentRequest, SettlementNotice
from caas.rules.payment_states import PaymentState, Remark
from caas_lab.bench import fixtures
from caas_lab.bench.cpu import CpuUsage
from caas_lab.bench.fixtures import AMOUNT, PlatformFixture
from caas_lab.bench.goals import BenchServer, Goal, Measure, Measurement
from caas_lab.bench.stub_gateway import StubGateway

IN_FLIGHT: Final = 64
CAPTURE_SECONDS_MAX: Final = 30.0


class Lifecycles:
    """Buys, delivers, captures and settles, as often as there is time."""

    def __init__(self, fixture: PlatformFixture) -> None:
        """Watch the transitions, because a capture ends in another task than its purchase."""
        self._fixture = fixture
        self._orders: list[UUID] = []
        self._captured: dict[UUID, asyncio.Future[None]] = {}
        self._apply = fixture.platform.tables.transitions.apply
        fixture.platform.tables.transitions.apply = self._watched  # type: ignore[method-assign]

    async def make_ready(self) -> None:
        """Prepare the orders to pay for."""
        self._orders += await self._fixture.fresh_orders()

    async def rate(self, seconds: float) -> float:
        """Return lifecycles a second, until the orders or the seconds are used up."""
        began = time.perf_counter()
        done = 0

        async def caller() -> None:
            nonlocal done
            while self._orders and time.perf_counter() - began < seconds:
                await self._one()
                done += 1

        await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
        return done / (time.perf_counter() - began)

    async def _watched(
        self, transition: Transition, *, within: Connection | None = None
    ) -> TransitionResult:
        transitioned = await self._apply(transition, within=within)
        if transition.event == Remark.CAPTURE_ACCEPTED:
            self._waiting_for(transition.payment_id).set_result(None)
        return transitioned

    def _waiting_for(self, payment_id: UUID) -> "asyncio.Future[None]":
        loop = asyncio.get_running_loop()
        return self._captured.setdefault(payment_id, loop.create_future())

    async def _one(self) -> None:
        processing = self._fixture.platform.payment_processing
        payment = await processing.initiate_service_payment(
            PaymentRequest(
                subject=self._orders.pop(),
                customer=self._fixture.customer,
                amount=AMOUNT,
                currency="EUR",
                payment_method="pm_ok",
            )
        )
        assert isinstance(payment, Payment)
        async with asyncio.timeout(CAPTURE_SECONDS_MAX):
            await self._waiting_for(payment.id)
        del self._captured[payment.id]
        notice = SettlementNotice(
            settlement_id=str(payment.id), settled=True, settled_amount=AMOUNT, currency="EUR"
        )
        settled = await processing.record_settlement(payment.id, notice)
        assert settled.state is PaymentState.SETTLED, settled


@asynccontextmanager
async def ready(server: BenchServer) -> AsyncIterator[Measure]:
    """Start a platform on a database of its own."""
    dsn = await server.database("lifecycles")
    async with fixtures.started(dsn, StubGateway(), quick=server.quick) as fixture:
        ours = Lifecycles(fixture)

        async def measured(seconds: int) -> Measurement:
            await ours.make_ready()
            theirs = await server.yardstick.rate(seconds)
            usage = CpuUsage(server.postmaster)
            rate = await ours.rate(seconds)
            return Measurement(theirs, rate, usage.each(rate * seconds))

        yield measured


GOAL: Final = Goal(
    what="five-commit lifecycles of a one-time service, 64 in flight",
    theirs="TPC-B /s",
    ours="lifecycles /s",
    aim=1.0,
    ready=ready,
)
