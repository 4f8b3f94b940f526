"""Calls to the gateway are written down as they ended, and disturb no payment (audit trail)."""

from caas.billing_database.gateway_calls import GatewayCalls
from caas.billing_database.payment_audit_trail import record_of
from caas.billing_database.payments import Payment
from caas.rules.payment_states import PaymentState
from tests.installation import Installation


async def calls_of(installation: Installation, payment: Payment) -> list[tuple[str, str]]:
    found = await GatewayCalls(installation.database).of(payment.id, payment.gateway_transaction_id)
    return [(call.operation, call.outcome) for call in found]


async def test_what_was_asked_and_answered_is_written_down(installation: Installation) -> None:
    payment = await installation.settled()

    calls = await GatewayCalls(installation.database).of(payment.id, payment.gateway_transaction_id)

    assert [(call.operation, call.outcome) for call in calls][:2] == [
        ("initiate", "answered"), ("capture", "answered"),
    ]  # fmt: skip
    assert calls[0].summary == f"authorized {payment.gateway_transaction_id}"
    assert calls[0].key == f"{payment.id}:authorize"
    assert calls[0].amount == payment.amount


async def test_a_call_without_an_answer_stands_there_too(installation: Installation) -> None:
    await installation.gateway_does(
        "faults",
        match={"operation": "initiate", "times": 1},
        action={"drop_connection_after": True},
    )

    payment = await installation.buys()
    payment = await installation.until(payment.id, lambda now: now.state is PaymentState.CAPTURING)

    assert ("initiate", "unknown") in await calls_of(installation, payment)
    assert ("initiate", "answered") in await calls_of(installation, payment)


async def test_a_call_that_cannot_be_written_down_disturbs_no_payment(
    installation: Installation,
) -> None:
    await rename(installation, "gateway_calls", "gateway_calls_away")

    payment = await installation.settled()

    assert payment.state is PaymentState.SETTLED
    await rename(installation, "gateway_calls_away", "gateway_calls")


async def rename(installation: Installation, table: str, name: str) -> None:
    """Have a table go by another name."""
    async with installation.database.connection() as connection:
        await connection.execute("set role none")
        await connection.execute(f"alter table {table} rename to {name}")
        await connection.execute("set role caas_app")


async def test_a_flight_record_has_every_table(installation: Installation) -> None:
    payment = await installation.settled()

    record = await record_of(
        installation.database, payment.id, subjects=[payment.id, payment.subject],
        transaction_id=payment.gateway_transaction_id, since=payment.created_at,
    )  # fmt: skip

    assert record.claim is not None
    assert record.claim["kind"] == "capture"
    assert [command["action"] for command in record.commands] == ["activate"]
    assert "SUCCEEDED" in [answer["status"] for answer in record.answers]
    assert record.entries
    assert [reported["template"] for reported in record.notifications] == ["service_active"]
