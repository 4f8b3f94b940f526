"""The one door: accepting payments and moving them, against a real PostgreSQL."""

import asyncio
from uuid import UUID

import pytest

from caas.billing_database.connection import Database
from caas.billing_database.entitlements import Entitlements
from caas.billing_database.identifiers import derived_id, new_id
from caas.billing_database.payments import NewPayment, Payment, Payments, Verdict
from caas.billing_database.transitions import (
    Claim,
    Command,
    Evidence,
    NewJob,
    PaymentTransitions,
    Transition,
    transition_of,
)
from caas.rules import postings
from caas.rules.payment_states import PaymentEvent, PaymentState, Remark
from caas.rules.payment_types import PaymentType
from caas.rules.vehicle_signatures import SignedMessage
from tests import cars

AMOUNT = 1299
VIN, SAID_AT = "VIN1", "2026-11-23T00:00:00Z"


@pytest.fixture(autouse=True)
async def car(database: Database) -> None:
    """The car that the payments of this file are for."""
    async with database.connection() as connection:
        await cars.put(connection, VIN)


def new_payment(**changes: object) -> NewPayment:
    """A service payment of 12.99 EUR."""
    return NewPayment(
        **{  # type: ignore[arg-type]
            "id": new_id(), "type": PaymentType.SERVICE, "subject": new_id(),
            "customer": new_id(), "amount": AMOUNT, "currency": "EUR", "gateway": "contract",
            "payment_method": "pm_ok", "job_kind": "authorize", "due_in": 30.0, **changes,
        }
    )  # fmt: skip


SOLD = f"""
insert into customers (id, name, email, language, created_at)
values ('{{payment.customer}}', 'Ana', 'ana@example.com', 'es', now()) on conflict do nothing;
insert into services (code, name, kind, currency, updated_at)
values ('{{service}}', 'A service', 'one_time', 'EUR', now());
insert into service_orders (id, customer, vin, service, duration_days, amount, currency, created_at)
values ('{{payment.subject}}', '{{payment.customer}}', '{VIN}', '{{service}}', 30,
    {{payment.amount}}, '{{payment.currency}}', now());
"""


def service_of(payment_id: UUID) -> str:
    """The service that a payment is for, one of its own."""
    return f"service-{payment_id}"


def activation_of(payment_id: UUID) -> UUID:
    """The id of the command that a payment's vehicle is given."""
    return derived_id("activation", payment_id)


async def reserved(transitions: PaymentTransitions, payment: Payment) -> None:
    """Order the service that a payment is for, and reserve its term."""
    async with transitions._database.transaction() as connection:
        await cars.put(connection, VIN)
        await connection.execute(SOLD.format(payment=payment, service=service_of(payment.id)))
    await Entitlements(transitions._database).reserve(
        vin=VIN, service=service_of(payment.id), customer=payment.customer,
        service_order=payment.subject, duration_days=30, by_fleet=True,
    )  # fmt: skip


async def authorized(payments: Payments, transitions: PaymentTransitions, payment_id: UUID) -> int:
    """Move a pending payment to Authorized with its command; return the command's epoch."""
    payment = await payments.get(payment_id)
    await reserved(transitions, payment)
    transitioned = await transitions.apply(
        transition_of(
            payment,
            PaymentEvent.FUNDS_RESERVED,
            source="authorize",
            gateway_transaction_id=f"tx_{payment_id}",
            authorized=AMOUNT,
            entries=postings.authorized(AMOUNT),
            done=("authorize",),
            next=(NewJob("activate", 30),),
            command=Command(command_id=activation_of(payment_id), deadline_in=60),
        )
    )
    assert transitioned.transitioned
    assert transitioned.command is not None
    return transitioned.command.epoch


def succeeded(payment_id: UUID, epoch: int) -> SignedMessage:
    """What the vehicle of a payment says when it has done what it was told."""
    return SignedMessage(
        vin=VIN, command_id=str(activation_of(payment_id)), epoch=epoch,
        payment_id=str(payment_id), service=service_of(payment_id),
        action="activate", status="SUCCEEDED", at=SAID_AT,
    )  # fmt: skip


def capture_of(payment_id: UUID, epoch: int) -> Transition:
    """The move that claims the capture with a vehicle's evidence."""
    evidence = new_id()
    return Transition(
        payment_id=payment_id, event="Initiate settlement", from_state="Authorized",
        to_state="Capturing", source="evidence", captured=AMOUNT,
        entries=postings.captured(PaymentType.SERVICE, AMOUNT, held=AMOUNT),
        evidence=Evidence(id=evidence, kind="vehicle_acknowledgement",
                          command_id=activation_of(payment_id), epoch=epoch, vin=VIN,
                          service=service_of(payment_id), at=SAID_AT,
                          signature=cars.signature_text(succeeded(payment_id, epoch))),
        claim=Claim("capture", "delivered", evidence, "vehicle_acknowledgement"),
        done=("activate",), next=(NewJob("capture", 30), NewJob("notify_service_active", 30)),
    )  # fmt: skip


async def test_a_service_payment_walks_from_accepted_to_settled(database: Database) -> None:
    payments, transitions = Payments(database), PaymentTransitions(database)
    wanted = new_payment()

    acceptance = await payments.accept(wanted)
    epoch = await authorized(payments, transitions, wanted.id)
    capturing = await transitions.apply(capture_of(wanted.id, epoch))
    payment = await payments.get(wanted.id)
    settled = await transitions.apply(
        transition_of(
            payment, PaymentEvent.BANK_CONFIRMS, source="webhook", settled=AMOUNT,
            entries=postings.settled(AMOUNT), done=("capture",),
        )
    )  # fmt: skip

    assert acceptance.verdict is Verdict.ACCEPTED
    assert (capturing.transitioned, capturing.state) == (True, PaymentState.CAPTURING)
    assert (settled.transitioned, settled.state, settled.version) == (True, PaymentState.SETTLED, 5)
    assert [e.event for e in await payments.timeline(wanted.id)] == [
        "Customer submits payment", "Gateway processing", "Funds reserved", "Initiate settlement",
        "Bank confirms",
    ]  # fmt: skip


async def test_a_batch_of_payments_is_moved_in_few_statements_and_each_keeps_its_own_answer(
    database: Database,
) -> None:
    payments, transitions = Payments(database), PaymentTransitions(database)
    wanted = [new_payment() for _ in range(100)]

    accepted = await asyncio.gather(*(payments.accept(payment) for payment in wanted))
    epochs = await asyncio.gather(
        *(authorized(payments, transitions, payment.id) for payment in wanted)
    )
    captured = await asyncio.gather(
        *(
            transitions.apply(capture_of(payment.id, epoch))
            for payment, epoch in zip(wanted, epochs, strict=True)
        )
    )

    assert {answer.payment_id for answer in accepted} == {payment.id for payment in wanted}
    assert all(answer.transitioned for answer in captured)


async def test_the_same_source_moves_a_payment_once(database: Database) -> None:
    payments, transitions = Payments(database), PaymentTransitions(database)
    wanted = new_payment()
    await payments.accept(wanted)
    payment = await payments.get(wanted.id)
    remark = transition_of(payment, Remark.OUTCOME_UNKNOWN, source="time-out-1", outcome="unknown")

    answers = await asyncio.gather(*(transitions.apply(remark) for _ in range(10)))

    assert sum(answer.transitioned for answer in answers) == 1
    assert (await payments.get(wanted.id)).version == 3


async def test_capture_and_void_race_and_exactly_one_wins(database: Database) -> None:
    payments, transitions = Payments(database), PaymentTransitions(database)
    wanted = new_payment()
    await payments.accept(wanted)
    epoch = await authorized(payments, transitions, wanted.id)
    payment = await payments.get(wanted.id)
    void = transition_of(
        payment, Remark.VOID_REQUESTED, source="void", claim=Claim("void", "activation failed"),
        facts={"reason": "activation failed"}, done=("activate",), next=(NewJob("void", 30),),
        command=Command(command_id=new_id(), deadline_in=60, resend_in=30),
    )  # fmt: skip

    voided, captured = await asyncio.gather(
        transitions.apply(void), transitions.apply(capture_of(wanted.id, epoch))
    )

    assert [voided.transitioned, captured.transitioned].count(True) == 1
    now = await transitions.apply(capture_of(wanted.id, epoch))
    assert not now.transitioned
    assert now.claim == ("void" if voided.transitioned else "capture")


async def test_a_second_live_payment_for_the_subject_is_named_not_made(database: Database) -> None:
    payments = Payments(database)
    first = new_payment()
    await payments.accept(first)

    second = await payments.accept(new_payment(subject=first.subject))

    assert (second.verdict, second.payment_id) == (Verdict.LIVE_PAYMENT, first.id)


async def test_the_same_key_at_once_makes_one_payment(database: Database) -> None:
    payments = Payments(database)
    keyed = {"caller": "web", "key_hash": "\\x01", "request_hash": "\\x02"}

    answers = await asyncio.gather(*(payments.accept(new_payment(**keyed)) for _ in range(64)))

    assert [a.verdict for a in answers].count(Verdict.ACCEPTED) == 1
    assert [a.verdict for a in answers].count(Verdict.KEY_USED) == 63
    assert len({answer.payment_id for answer in answers}) == 1


async def test_an_illegal_move_in_a_batch_fails_alone(database: Database) -> None:
    payments, transitions = Payments(database), PaymentTransitions(database)
    wanted = [new_payment() for _ in range(8)]
    await asyncio.gather(*(payments.accept(payment) for payment in wanted))
    illegal = Transition(payment_id=wanted[3].id, event="Bank confirms", from_state="Pending",
                   to_state="Settled", source="x")  # fmt: skip
    others = [
        Transition(
            payment_id=p.id,
            event="Gateway rejection",
            from_state="Pending",
            to_state="Failed",
            source="x",
            decline_code="card_declined",
            done=("authorize",),
        )
        for p in wanted
        if p.id != wanted[3].id
    ]

    answers = await asyncio.gather(
        transitions.apply(illegal), *(transitions.apply(m) for m in others), return_exceptions=True
    )

    assert "illegal move" in str(answers[0])
    assert all(answer.transitioned for answer in answers[1:])  # type: ignore[union-attr]
    with pytest.raises(Exception, match="illegal move"):
        await transitions.apply(illegal)
