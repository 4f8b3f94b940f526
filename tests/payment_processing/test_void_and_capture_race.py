"""Void and capture at the same moment (decision 7): the loser is told who won."""

import asyncio
import base64
from contextvars import Context

import pytest

from caas.billing_database.connection import Connection
from caas.billing_database.identifiers import new_id
from caas.billing_database.payments import Payment
from caas.billing_database.transitions import Evidence, NewJob
from caas.ota_activation_engine import ACTIVATE
from caas.payment_processing.flow import SideEffects
from caas.payment_processing.service_payment import NOTIFY_ACTIVE
from caas.payment_processing.void import CaptureWonError
from caas.rules.payment_states import PaymentState
from caas.rules.vehicle_signatures import SignedMessage
from caas_simulators.vehicle_car import Behaviour, Manner
from tests.installation import VIN, Installation

PATIENCE_SECONDS = 120.0
WAITS = "select count(*) as n from pg_locks where not granted"


async def test_a_void_that_waited_for_the_capture_is_told_that_it_lost(
    installation: Installation,
) -> None:
    installation.fleet.add(VIN, Manner(Behaviour.ASLEEP))
    payment = await installation.buys()
    charges = installation.platform.payment_processing._charges

    evidence = await delivered(installation, payment)
    async with installation.database.transaction() as connection:
        captured = await charges.capture.claim_capture(
            payment, evidence, within=connection, also=SideEffects(next=(NewJob(NOTIFY_ACTIVE),))
        )
        void = asyncio.create_task(
            charges.void.void_charge(payment, "OTA activation failed"), context=Context()
        )  # in a context of its own: it is another caller, who holds no connection
        await until_somebody_waits(connection)

    with pytest.raises(CaptureWonError):
        await void
    assert captured.state is PaymentState.CAPTURING
    assert (
        await installation.platform.tables.payments.get(payment.id)
    ).captured_amount == payment.amount


async def delivered(installation: Installation, payment: Payment) -> Evidence:
    command = await installation.platform.tables.commands.last_of(payment.id, ACTIVATE)
    assert command is not None
    word = SignedMessage(
        vin=VIN, command_id=str(command.command_id), epoch=command.epoch,
        payment_id=str(payment.id), service=command.service, action="activate", status="SUCCEEDED",
        at=str(payment.created_at),
    )  # fmt: skip
    return Evidence(
        id=new_id(),
        kind="vehicle_acknowledgement",
        command_id=command.command_id,
        epoch=command.epoch,
        vin=VIN,
        service=command.service,
        at=word.at,
        signature=base64.b64encode(installation.signature(word)).decode(),
    )


async def until_somebody_waits(connection: Connection) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (await connection.fetch(WAITS))[0]["n"]:
            await asyncio.sleep(0.01)
