"""A refusal is reported while the request that it is of is still under way (decision 260)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import Context
from typing import Any
from uuid import UUID

import pytest

from caas.billing_database.connection import Database
from caas.billing_database.payments import Payment
from caas.external_systems.http_answers import NotSentError
from caas.external_systems.seed_contract_gateway import SeedContractGateway
from caas.rules.payment_states import PaymentState
from caas_simulators.vehicle_car import Behaviour, Manner
from tests.installation import VIN, Installation
from tests.payment_processing.test_accepted_first import (
    accepted,
    accepting_first,
    eventually,
    keys_of,
    no_lookups,
    reports,
)

REPORTED = ("capture", "void")


@pytest.fixture
async def installation(database: Database) -> AsyncIterator[Installation]:
    """An installation whose gateway accepts first."""
    async with accepting_first(database) as opened:
        yield opened


class Overtaken:
    """A gateway one of whose answers is late: its refusal is reported and applied before it."""

    def __init__(
        self, installation: Installation, monkeypatch: pytest.MonkeyPatch, operation: str
    ) -> None:
        self._installation = installation
        self._operation = operation
        self._answers = 0
        self.late = 1
        self.instead: Exception | None = None
        self.call = getattr(SeedContractGateway, operation)

        async def answered(gateway: SeedContractGateway, *given: Any, key: str) -> object:
            answer = await self.call(gateway, *given, key=key)
            self._answers += 1
            if self._answers == self.late:
                await asyncio.create_task(self._refuse(given[0], answer.id), context=Context())
                if self.instead is not None:
                    raise self.instead
            return answer

        monkeypatch.setattr(SeedContractGateway, operation, answered)

    async def _refuse(self, transaction_id: str, accepted_as: str) -> None:
        [payment] = await self._installation.database.fetch("select id from payments")
        await reports(
            self._installation, f"{self._operation}.refused", id=accepted_as,
            transaction_id=transaction_id, reference=str(payment["id"]), code="acquirer_error",
        )  # fmt: skip
        await eventually(self._installation, lambda: self._is_refused(payment["id"]))

    async def _is_refused(self, payment: UUID) -> bool:
        cases = await self._installation.platform.tables.cases.listed(subject=payment)
        return "gateway_refuses" in [case.kind for case in cases]


async def asked_for(installation: Installation, operation: str) -> Payment:
    """Buy something; its capture, or its void, is due."""
    if operation == "void":
        installation.fleet.add(VIN, Manner(Behaviour.REFUSES))
        return await installation.buys()
    payment = await installation.buys()
    return await installation.until(payment.id, lambda p: p.state is PaymentState.CAPTURING)


def is_sent_under_both_keys(
    installation: Installation, payment: Payment, operation: str
) -> Callable[[], Awaitable[bool]]:
    """Whether an operation was asked for again, under the key's next issue and no other."""

    async def is_sent() -> bool:
        keys = await keys_of(installation, operation)
        assert set(keys) <= {f"{payment.id}:{operation}", f"{payment.id}:{operation}:2"}
        return len(keys) > 1

    return is_sent


@pytest.mark.parametrize("operation", REPORTED)
async def test_a_refusal_before_its_acceptance_is_recorded_is_followed_by_the_next_key(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """It was sent again under the refused request's key, whose answer stayed the same."""
    Overtaken(installation, monkeypatch, operation)
    await no_lookups(installation)

    payment = await asked_for(installation, operation)

    await eventually(installation, is_sent_under_both_keys(installation, payment, operation))


@pytest.mark.parametrize("operation", REPORTED)
@pytest.mark.parametrize(
    "instead", [None, NotSentError(partner="gateway", call="POST", cause="TimeoutError")]
)
async def test_a_refusal_while_the_operation_is_asked_about_is_followed_by_the_next_key(
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    instead: Exception | None,
) -> None:
    """The job that asked put the refused request back, and waited for its report for a day."""
    gateway = Overtaken(installation, monkeypatch, operation)
    gateway.late, gateway.instead = 2, instead
    await no_lookups(installation)

    payment = await asked_for(installation, operation)
    await accepted(installation, payment, operation)
    await installation.platform.tables.jobs.postpone(operation, payment.id, due_in=0.0)

    await eventually(installation, is_sent_under_both_keys(installation, payment, operation))


async def test_a_last_look_does_not_end_what_a_refusal_has_begun(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job of the next request was deleted, and the outcome reported as unknown."""
    Overtaken(installation, monkeypatch, "capture").late = 2
    await no_lookups(installation)

    payment = await asked_for(installation, "capture")
    await accepted(installation, payment, "capture")
    await installation.platform.tables.jobs.postpone(
        "capture", payment.id, due_in=0.0, payload={"looks": 7}
    )

    await eventually(installation, is_sent_under_both_keys(installation, payment, "capture"))
    cases = await installation.platform.tables.cases.listed(subject=payment.id)
    assert [case.kind for case in cases] == ["gateway_refuses"]
