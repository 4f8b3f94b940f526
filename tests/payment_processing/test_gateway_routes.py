"""New payments by market, and payments that their gateway has not received (decision 208)."""

from collections.abc import AsyncIterator
from uuid import UUID

import aiohttp
import asyncpg
import pytest

from caas.billing_database.connection import Connection, Database
from caas.billing_database.gateway_calls import CallNotRecordedError, GatewayCall, GatewayCalls
from caas.billing_database.payments import Payment, Payments
from caas.billing_database.transitions import PaymentTransitions, Transition, transition_of
from caas.external_systems.payment_gateway import GatewayTransaction, TransactionRequest
from caas.external_systems.seed_contract_gateway import SeedContractGateway
from caas.rules.gateway_routes import GatewayRoutes
from caas.rules.payment_states import PaymentState, Remark
from tests.billing_database.test_transitions import new_payment
from tests.buyers import gives_details
from tests.installation import Installation
from tests.two_gateways import CONTRACT, STRIPE, TWIN, TwoGateways, two_gateways

OTHER_VIN = "WVWZZZ1JZXW000002"
NOWHERE = "http://127.0.0.1:9"
CARD = {"number": "4242 4242 4242 4242", "expiry": "12/39", "cvc": "123"}
IN_PORTUGAL = {
    "street": "Rua do Carmo 1", "postcode": "1200-093", "city": "Lisboa", "country": "PT",
    "tax_id": "501964843",
}  # fmt: skip
TO_TWIN = GatewayRoutes(fallback=TWIN)


@pytest.fixture
async def at(database: Database) -> AsyncIterator[TwoGateways]:
    """The gateways, before any payment."""
    async with two_gateways(database) as opened:
        yield opened


async def stocked(installation: Installation) -> Installation:
    """Put a car and a service on offer."""
    await installation.car()
    await installation.offer_heated_seats()
    return installation


async def changes(installation: Installation, payment: Payment) -> list[dict[str, object]]:
    """Return the facts of each change of a payment's gateway."""
    trail = await installation.platform.tables.payments.timeline(payment.id)
    return [event.facts for event in trail if event.event == Remark.GATEWAY_CHANGED]


async def calls(installation: Installation, payment: Payment) -> list[tuple[str, str]]:
    """Return to whom a payment was sent, and what became of the call."""
    made = await GatewayCalls(installation.database).of(payment.id, payment.gateway_transaction_id)
    return [(call.gateway, call.outcome) for call in made if call.operation == "initiate"]


async def pays(payment: Payment) -> None:
    """Pay on the gateway's page."""
    assert payment.hosted_page_url is not None
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            payment.hosted_page_url, data={**CARD, "action": "pay"}, allow_redirects=False
        ) as answer,
    ):
        assert answer.status == 303, await answer.text()


async def test_a_new_payment_goes_to_the_gateway_of_the_customers_market(at: TwoGateways) -> None:
    async with at.installed(CONTRACT, TWIN, routes=GatewayRoutes({"PT": TWIN})) as installation:
        await stocked(installation)
        await installation.car(OTHER_VIN)
        in_portugal = await installation.customer()
        await gives_details(at.database, in_portugal, **IN_PORTUGAL)

        there = await installation.buys(None, customer=in_portugal)
        here = await installation.buys(None, vin=OTHER_VIN)

        assert (there.gateway, here.gateway) == (TWIN, CONTRACT)


async def test_a_saved_card_is_charged_where_it_was_saved_whatever_the_market(
    at: TwoGateways,
) -> None:
    async with at.installed(CONTRACT, TWIN) as installation:
        await stocked(installation)
        customer = await installation.customer()
        await gives_details(at.database, customer, **IN_PORTUGAL)
        assert (await installation.buys(customer=customer)).gateway == CONTRACT

    async with at.installed(CONTRACT, TWIN, routes=GatewayRoutes({"PT": TWIN})) as routed:
        await routed.car(OTHER_VIN)
        again = await routed.buys(customer=customer, vin=OTHER_VIN)

        assert again.gateway == CONTRACT


async def test_what_a_gateway_has_not_received_is_paid_at_the_fallback(at: TwoGateways) -> None:
    at.urls[CONTRACT] = NOWHERE
    async with at.installed(CONTRACT, TWIN, routes=TO_TWIN) as installation:
        await stocked(installation)

        payment = await installation.buys(None)
        await pays(payment)

        assert payment.gateway == TWIN
        assert [(it["from"], it["to"]) for it in await changes(installation, payment)] == [
            (CONTRACT, TWIN)
        ]
        assert sorted(await calls(installation, payment)) == [
            (CONTRACT, "not sent"), (TWIN, "answered"),
        ]  # fmt: skip
        await installation.until(payment.id, lambda p: p.state is PaymentState.CAPTURING)
        await at.settle(TWIN)
        await installation.until(payment.id, lambda p: p.state is PaymentState.SETTLED)


async def test_what_a_gateway_only_turns_away_is_paid_at_the_fallback(at: TwoGateways) -> None:
    fault = {"status": 429}
    await at.gateway_does(CONTRACT, "faults", match={"operation": "initiate"}, action=fault)
    async with at.installed(CONTRACT, TWIN, routes=TO_TWIN) as installation:
        await stocked(installation)

        payment = await installation.buys(None)

        assert await calls(installation, payment) == [
            *[(CONTRACT, "turned away")] * 4, (TWIN, "answered"),
        ]  # fmt: skip
        assert (payment.gateway, payment.outcome) == (TWIN, "known")
        assert not at.contract.store.bookings


async def test_what_no_gateway_receives_fails_at_the_last(at: TwoGateways) -> None:
    at.urls.update({CONTRACT: NOWHERE, TWIN: NOWHERE})
    async with at.installed(CONTRACT, TWIN, routes=TO_TWIN) as installation:
        await stocked(installation)

        payment = await installation.buys(None)

        assert (payment.gateway, payment.state) == (TWIN, PaymentState.FAILED)
        assert len(await changes(installation, payment)) == 1


async def offers(installation: Installation, amount: int, currency: str) -> None:
    """Put the service on offer at this price."""
    await installation.platform.service_catalog.put_service(
        code="heated-seats", name="Heated seats", kind="one_time", currency=currency,
        prices=[{"duration_days": 30, "amount": amount}],
    )  # fmt: skip


NOT_FOR_STRIPE = [(12_990, "KWD"), (150_000_000, "EUR"), (49, "EUR")]


@pytest.mark.parametrize(("amount", "currency"), NOT_FOR_STRIPE)
async def test_a_payment_that_the_fallback_cannot_take_is_tried_again_where_it_is(
    at: TwoGateways, amount: int, currency: str
) -> None:
    at.urls[CONTRACT] = NOWHERE
    routes = GatewayRoutes(fallback=STRIPE)
    async with at.installed(CONTRACT, STRIPE, routes=routes) as installation:
        await installation.car()
        await offers(installation, amount, currency)

        payment = await installation.buys(None)

        assert (payment.gateway, payment.decline_code) == (CONTRACT, "gateway_unreachable")
        assert await calls(installation, payment) == [(CONTRACT, "not sent")] * 4
        assert not await changes(installation, payment)


@pytest.mark.parametrize(("amount", "currency"), NOT_FOR_STRIPE)
@pytest.mark.parametrize(
    ("names", "routes"),
    [
        ((CONTRACT, STRIPE), GatewayRoutes({"PT": STRIPE})),
        ((STRIPE, CONTRACT), GatewayRoutes(fallback=CONTRACT)),
    ],
    ids=["by market", "to the fallback"],
)
async def test_a_new_payment_goes_to_a_gateway_that_can_take_it(
    at: TwoGateways, amount: int, currency: str, names: tuple[str, str], routes: GatewayRoutes
) -> None:
    async with at.installed(*names, routes=routes) as installation:
        await installation.car()
        await offers(installation, amount, currency)
        customer = await installation.customer()
        await gives_details(at.database, customer, **IN_PORTUGAL)

        payment = await installation.buys(None, customer=customer)

        assert (payment.gateway, payment.state) == (CONTRACT, PaymentState.PENDING)
        assert payment.hosted_page_url is not None


async def test_a_payment_that_no_gateway_takes_fails_where_its_market_goes(at: TwoGateways) -> None:
    async with at.installed(STRIPE) as installation:
        await installation.car()
        await offers(installation, 12_990, "KWD")

        payment = await installation.buys(None)
        [case] = await installation.platform.tables.cases.listed(subject=payment.id)

        assert (payment.state, payment.decline_code) == (
            PaymentState.FAILED,
            "unsupported_currency",
        )
        assert case.kind == "amount_refused"


async def test_a_token_is_tried_nowhere_else(at: TwoGateways) -> None:
    at.urls[CONTRACT] = NOWHERE
    async with at.installed(CONTRACT, TWIN, routes=TO_TWIN) as installation:
        await stocked(installation)

        payment = await installation.buys("pm_ok")

        assert (payment.gateway, payment.state) == (CONTRACT, PaymentState.FAILED)
        assert not at.twin.store.bookings


@pytest.mark.parametrize("fault", [{"status": 503}, {"drop_connection_after": True}])
async def test_a_payment_of_unknown_outcome_stays_where_it_may_be(
    at: TwoGateways, fault: dict[str, object]
) -> None:
    await at.gateway_does(CONTRACT, "faults", match={"operation": "initiate"}, action=fault)
    async with at.installed(CONTRACT, TWIN, routes=TO_TWIN) as installation:
        await stocked(installation)

        payment = await installation.buys(None)

        assert (payment.gateway, payment.state) == (CONTRACT, PaymentState.PENDING)
        assert not await changes(installation, payment)
        assert not at.twin.store.bookings


async def test_a_payment_of_unknown_outcome_stays_although_its_call_is_not_recorded(
    at: TwoGateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def not_recorded(_: GatewayCalls, __: GatewayCall) -> None:
        raise CallNotRecordedError(because="no room")

    monkeypatch.setattr(GatewayCalls, "add", not_recorded)
    fault = {"drop_connection_after": True}
    await at.gateway_does(CONTRACT, "faults", match={"operation": "initiate"}, action=fault)
    async with at.installed(CONTRACT, TWIN, routes=TO_TWIN) as installation:
        await stocked(installation)

        payment = await installation.buys(None)

        assert (payment.gateway, payment.outcome) == (CONTRACT, "unknown")
        assert not at.twin.store.bookings


async def test_a_payment_that_another_process_may_have_sent_stays(
    at: TwoGateways, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process was taken for dead while it waited for the connection."""
    call = SeedContractGateway.initiate

    async def taken_over(
        gateway: SeedContractGateway, request: TransactionRequest, *, key: str
    ) -> GatewayTransaction:
        payment = UUID(request.reference)
        await database.fetch("update jobs set fence = fence + 1 where subject = $1", payment)
        return await call(gateway, request, key=key)

    at.urls[CONTRACT] = NOWHERE
    async with at.installed(CONTRACT, TWIN, routes=TO_TWIN) as installation:
        await stocked(installation)
        monkeypatch.setattr(SeedContractGateway, "initiate", taken_over)

        payment = await installation.buys(None)

        assert (payment.gateway, payment.state) == (CONTRACT, PaymentState.PENDING)
        assert not await changes(installation, payment)
        assert not at.twin.store.bookings


def change(payment: Payment) -> Transition:
    """Return the event of a change of gateway."""
    return transition_of(
        payment, Remark.GATEWAY_CHANGED, source=f"gateway:{TWIN}",
        facts={"from": payment.gateway, "to": TWIN, "because": "no connection"},
    )  # fmt: skip


async def changed(database: Database, payment: UUID, *steps: Transition) -> None:
    """Apply transitions and change the gateway of a payment, in one transaction."""

    async def together(connection: Connection) -> None:
        for step in steps:
            assert (await PaymentTransitions(database).apply(step, within=connection)).transitioned
        await Payments(database).change_gateway(payment, TWIN, within=connection)

    await database.in_transaction(together)


@pytest.mark.parametrize("outcome", ["not sent", "turned away"])
async def test_the_database_moves_a_payment_of_which_nothing_arrived(
    database: Database, outcome: str
) -> None:
    new = new_payment(gateway=CONTRACT)
    await Payments(database).accept(new)
    await GatewayCalls(database).add(call_about(new.id, outcome))

    await changed(database, new.id, change(await Payments(database).get(new.id)))
    assert (await Payments(database).get(new.id)).gateway == TWIN


def call_about(payment: UUID, outcome: str) -> GatewayCall:
    """Return a call that was to send the payment."""
    return GatewayCall(
        gateway=CONTRACT, operation="initiate", payment_id=payment, transaction_id=None,
        key="k", amount=100, outcome=outcome, summary="x", took_ms=1,
    )  # fmt: skip


async def test_the_database_lets_no_gateway_change_without_its_event(database: Database) -> None:
    new = new_payment(gateway=CONTRACT)
    await Payments(database).accept(new)

    with pytest.raises(asyncpg.CheckViolationError, match="stays at contract"):
        await changed(database, new.id)

    await changed(database, new.id, change(await Payments(database).get(new.id)))
    assert (await Payments(database).get(new.id)).gateway == TWIN


@pytest.mark.parametrize("outcome", ["answered", "refused", "unknown"])
async def test_the_database_keeps_a_payment_where_a_call_may_have_arrived(
    database: Database, outcome: str
) -> None:
    new = new_payment(gateway=CONTRACT)
    await Payments(database).accept(new)
    await GatewayCalls(database).add(call_about(new.id, outcome))

    with pytest.raises(asyncpg.CheckViolationError, match="stays at contract"):
        await changed(database, new.id, change(await Payments(database).get(new.id)))


async def test_the_database_keeps_a_payment_of_unknown_outcome_where_it_is(
    database: Database,
) -> None:
    new = new_payment(gateway=CONTRACT)
    await Payments(database).accept(new)
    payment = await Payments(database).get(new.id)
    unknown = transition_of(payment, Remark.OUTCOME_UNKNOWN, source="silence", outcome="unknown")
    assert (await PaymentTransitions(database).apply(unknown)).transitioned

    with pytest.raises(asyncpg.CheckViolationError, match="stays at contract"):
        await changed(database, new.id, change(await Payments(database).get(new.id)))
