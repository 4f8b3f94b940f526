"""Calls to the gateway are written down as they ended, and disturb no payment (flight recorder)."""

from caas.billing_database.flight_records import record_of
from caas.billing_database.gateway_calls import GatewayCalls
from caas.billing_database.payments import Payment
from caas.rules.payment_states import PaymentState
from tests.house import House


async def calls_of(house: House, payment: Payment) -> list[tuple[str, str]]:
    found = await GatewayCalls(house.database).of(payment.id, payment.gateway_transaction_id)
    return [(call.operation, call.outcome) for call in found]


async def test_what_was_asked_and_answered_is_written_down(house: House) -> None:
    payment = await house.settled()

    calls = await GatewayCalls(house.database).of(payment.id, payment.gateway_transaction_id)

    assert [(call.operation, call.outcome) for call in calls][:2] == [
        ("initiate", "answered"), ("capture", "answered"),
    ]  # fmt: skip
    assert calls[0].said == f"authorized {payment.gateway_transaction_id}"
    assert calls[0].key == f"{payment.id}:authorise"
    assert calls[0].amount == payment.amount


async def test_a_call_without_an_answer_stands_there_too(house: House) -> None:
    await house.gateway_does(
        "faults",
        match={"operation": "initiate", "times": 1},
        action={"drop_connection_after": True},
    )

    payment = await house.buys()
    payment = await house.until(payment.id, lambda now: now.state is PaymentState.CAPTURING)

    assert ("initiate", "unknown") in await calls_of(house, payment)
    assert ("initiate", "answered") in await calls_of(house, payment)


async def test_a_call_that_cannot_be_written_down_disturbs_no_payment(house: House) -> None:
    await rename(house, "gateway_calls", "gateway_calls_away")

    payment = await house.settled()

    assert payment.state is PaymentState.SETTLED
    await rename(house, "gateway_calls_away", "gateway_calls")


async def rename(house: House, table: str, name: str) -> None:
    """Have a table go by another name."""
    async with house.database.connection() as connection:
        await connection.execute("set role none")
        await connection.execute(f"alter table {table} rename to {name}")
        await connection.execute("set role caas_app")


async def test_a_flight_record_has_every_table(house: House) -> None:
    payment = await house.settled()

    record = await record_of(
        house.database, payment.id, subjects=[payment.id, payment.subject],
        transaction_id=payment.gateway_transaction_id, since=payment.created_at,
    )  # fmt: skip

    assert record.claim is not None
    assert record.claim["kind"] == "capture"
    assert [command["action"] for command in record.commands] == ["activate"]
    assert "SUCCEEDED" in [answer["status"] for answer in record.answers]
    assert record.entries
    assert [told["template"] for told in record.notifications] == ["service_active"]
