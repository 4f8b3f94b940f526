"""Entitlements: who may use which service in a vehicle, and what the vehicle has activated.

Rule a change must keep: a key restricted to a customer sees only that customer's terms; a key
restricted to a dealership sees its customers' terms, and of other terms only the end date.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from caas.api.authentication import Call
from caas.api.bodies import NOTHING
from caas.api.context import Api
from caas.api.idempotency import once
from caas.api.operation import Operation
from caas.api.ownership import hide_foreign_vehicle
from caas.api.problems import Problem
from caas.api.row_answers import answer_from
from caas.api.vehicles import vin_of
from caas.billing_database.entitlements import SyncState, Term
from caas.billing_database.vehicles import dealership_knows
from caas.rules.scopes import Scope
from caas.web.response import Response, json_response

TAG: Final = "vehicles"
STATES: Final = {"running": "active"}
OVER: Final = frozenset({"ended", "expired"})


class TermAnswer(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename={"starts_at": "from", "ends_at": "until", "payment_id": "payment"},
):
    """A sold term of a service: its period (`until` is null if open-ended) and its purchase.

    `state` is pending, activating, active, scheduled, expired or ended. It is taken if the term
    belongs to another customer; then only `until` is returned.
    """

    id: UUID | None
    state: str
    starts_at: datetime | None
    ends_at: datetime | None
    customer: UUID | None
    payment_id: UUID | None
    service_order: UUID | None
    subscription: UUID | None
    ended_because: str | None


class DesiredAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The desired state of the service now; `until` is null if open-ended or off."""

    on: bool
    until: datetime | None


class ReportedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The state that the vehicle last confirmed, with its epoch and time."""

    on: bool
    until: datetime | None
    epoch: int
    at: datetime


class EntitlementAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A service in the vehicle: its terms, the desired state and the reported state."""

    service: str
    terms: list[TermAnswer]
    desired: DesiredAnswer
    reported: ReportedAnswer | None
    in_sync: bool


class EntitlementList(msgspec.Struct, frozen=True, kw_only=True):
    """Every service sold for the vehicle."""

    vin: str
    data: list[EntitlementAnswer]


class SynchronizationAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The number of services whose desired state was sent to the vehicle again."""

    vin: str
    commands: int


async def list_entitlements(api: Api, call: Call) -> Response:
    """List the entitlements of a vehicle by service, with the state the vehicle last confirmed."""
    vin = vin_of(call)
    await hide_foreign_vehicle(api.platform, call.by, vin)
    await api.platform.order_management.vehicles.get(vin)
    terms = await api.platform.tables.entitlements.terms(vin)
    if call.by.customer is not None:
        terms = [term for term in terms if term.customer == call.by.customer]
    to_response = await _to_response(api, call, terms)
    states = await api.platform.tables.entitlements.sync_states(vin)
    data = [
        _answer(state, [t for service, t in to_response if service == state.service])
        for state in states
    ]
    return json_response(200, EntitlementList(vin=vin, data=[one for one in data if one.terms]))


async def synchronize_vehicle(api: Api, call: Call) -> Response:
    """Send a vehicle the desired state of every service again, such as after a memory loss."""
    body = NOTHING.read(call.body)
    vin = vin_of(call)

    async def synchronize() -> Response:
        await api.platform.order_management.vehicles.get(vin)
        commands = await api.platform.ota_activation_engine.synchronize(vin)
        return json_response(202, SynchronizationAnswer(vin=vin, commands=commands))

    return await once(api.platform.tables.keys, call, body, synchronize)


async def _to_response(api: Api, call: Call, terms: Sequence[Term]) -> list[tuple[str, TermAnswer]]:
    """Return the terms by service; a dealership does not see other customers' ids."""
    known = {term.customer for term in terms}
    if call.by.dealership is not None:
        database = api.platform.tables.database
        known = {it for it in known if await dealership_knows(database, call.by.dealership, it)}
    return [
        (term.service, _term_answer(term) if term.customer in known else _taken(term))
        for term in terms
        if term.customer in known or term.status not in OVER
    ]


def _answer(state: SyncState, terms: list[TermAnswer]) -> EntitlementAnswer:
    return EntitlementAnswer(
        service=state.service,
        terms=terms,
        desired=DesiredAnswer(on=state.desired_on, until=state.desired_until),
        reported=_reported_answer(state),
        in_sync=state.in_sync,
    )


def _term_answer(term: Term) -> TermAnswer:
    return answer_from(TermAnswer, term, state=STATES.get(term.status, term.status))


def _taken(term: Term) -> TermAnswer:
    return TermAnswer(
        id=None, state="taken", starts_at=None, ends_at=term.ends_at, customer=None,
        payment_id=None, service_order=None, subscription=None, ended_because=None,
    )  # fmt: skip


def _reported_answer(state: SyncState) -> ReportedAnswer | None:
    if state.reported_epoch is None or state.reported_at is None:
        return None
    return ReportedAnswer(
        on=state.reported_on,
        until=state.reported_until if state.reported_on else None,
        epoch=state.reported_epoch,
        at=state.reported_at,
    )


_PATH: Final = "/v1/vehicles/{vin:str}/entitlements"

ENTITLEMENT_OPERATIONS: Final = (
    Operation(
        id="listEntitlements", narrowed=True, tag=TAG, method="GET", path=_PATH,
        answers={200: EntitlementList, 404: Problem}, handle=list_entitlements,
    ),
    Operation(
        id="synchronizeVehicle", tag=TAG, method="POST", path=f"{_PATH}/synchronization",
        scopes=frozenset({Scope.OTA_ENGINE, Scope.OPERATIONS}), body=NOTHING,
        answers={202: SynchronizationAnswer, 404: Problem}, handle=synchronize_vehicle,
    ),
)  # fmt: skip
