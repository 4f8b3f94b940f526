"""Vehicles: models with their prices, the stock, and each vehicle's state (Diagrams 2 and 3).

Rule a change must keep: a vehicle's public key comes from the factory or, once, with a finished
vehicle, from an unrestricted caller; never from a seller or driver, because the vehicle's signature
triggers charges.
"""

import base64
import re
from datetime import datetime
from typing import Final

import msgspec

from caas.api.authentication import Call
from caas.api.bodies import NOTHING, PAGE_ROWS, BodyOf, Limit, QueryOf
from caas.api.context import Api
from caas.api.idempotency import once
from caas.api.operation import Operation
from caas.api.ownership import own_vehicle, refuse_foreign_vehicle, refuse_narrowed
from caas.api.problems import InvalidParameterError, Problem
from caas.api.row_answers import answer_from, page_of
from caas.api.texts import VIN_PATTERN, MoneyBody, Name, PublicKey, Vin
from caas.billing_database.vehicles import Vehicle
from caas.rules.money import payment_amount
from caas.rules.personal_data import NAME_CHARS_MAX
from caas.rules.scopes import Scope
from caas.rules.vehicle_states import VehicleState
from caas.web.response import Response, json_response

TAG: Final = "vehicles"
_VIN: Final = re.compile(VIN_PATTERN)


class VehicleBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A vehicle for the stock; `finished` skips production."""

    model: Name
    price: MoneyBody
    public_key: PublicKey | None = None
    finished: bool = False


class MoneyAnswer(msgspec.Struct, frozen=True):
    """An amount in minor units with its ISO 4217 currency."""

    amount: int
    currency: str


class ModelBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a model costs when it is built to order, VAT included."""

    price: MoneyBody


class ModelAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A model and what it costs when it is built to order, VAT included."""

    model: str
    price: MoneyAnswer
    updated_at: datetime


class ModelList(msgspec.Struct, frozen=True):
    """Every model, by name."""

    data: list[ModelAnswer]


class VehicleAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A vehicle."""

    vin: str
    model: str
    price: MoneyAnswer
    public_key: str | None
    finished: bool
    state: VehicleState
    in_stock_since: datetime | None
    created_at: datetime
    updated_at: datetime
    links: dict[str, str]


class VehicleEventAnswer(
    msgspec.Struct, frozen=True, kw_only=True, rename={"version": "seq", "to_state": "state"}
):
    """A vehicle transition, with the event names of Diagrams 2 and 3."""

    version: int
    event: str
    to_state: VehicleState
    at: datetime


class VehicleWithEvents(VehicleAnswer, frozen=True, kw_only=True):
    """A vehicle with its timeline."""

    events: list[VehicleEventAnswer]


class VehiclePage(msgspec.Struct, frozen=True, kw_only=True):
    """Vehicles by VIN; pass `next_cursor` to get the next page, null at the end."""

    data: list[VehicleAnswer]
    next_cursor: str | None


class CommandKeyAnswer(msgspec.Struct, frozen=True):
    """A command signing key: its id and its Ed25519 public key in base64."""

    key_id: str
    public_key: str


class CommandKeysAnswer(msgspec.Struct, frozen=True):
    """The keys that vehicles must accept now."""

    data: list[CommandKeyAnswer]


class VehicleQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Filters for vehicles."""

    state: VehicleState | None = None
    model: Name | None = None
    cursor: Vin | None = None
    limit: Limit = PAGE_ROWS


MODEL: Final = BodyOf(ModelBody)
PUT: Final = BodyOf(VehicleBody)
LISTED: Final = QueryOf(VehicleQuery)


async def put_model(api: Api, call: Call) -> Response:
    """Set the price of a model that is built to order. Changes apply to new orders."""
    body = MODEL.read(call.body)
    model = await api.platform.order_management.put_model(
        _model_of(call), payment_amount(body.price.amount, body.price.currency)
    )
    return json_response(200, answer_from(ModelAnswer, model))


async def list_models(api: Api, _call: Call) -> Response:
    """List the models that can be ordered, with their prices."""
    models = await api.platform.order_management.vehicles.models()
    return json_response(200, ModelList([answer_from(ModelAnswer, it) for it in models]))


async def put_vehicle(api: Api, call: Call) -> Response:
    """Add a vehicle to the stock, or update a known one."""
    body = PUT.read(call.body)
    vehicle = await api.platform.order_management.put_vehicle(
        vin=vin_of(call),
        model=body.model,
        price=payment_amount(body.price.amount, body.price.currency),
        public_key=base64.b64decode(body.public_key) if body.public_key else None,
        finished=body.finished,
    )
    return json_response(200, _to_response(vehicle))


async def return_vehicle(api: Api, call: Call) -> Response:
    """Record the return of a delivered vehicle after a withdrawal. It is in stock again."""
    body = NOTHING.read(call.body)
    vin = vin_of(call)

    async def back() -> Response:
        await refuse_foreign_vehicle(api.platform, call.by, vin)
        return json_response(
            200, _to_response(await api.platform.order_management.withdrawal.vehicle_returned(vin))
        )

    return await once(api.platform.tables.keys, call, body, back)


async def get_vehicle(api: Api, call: Call) -> Response:
    """Return a vehicle with its timeline."""
    vin = vin_of(call)
    vehicle = await own_vehicle(api.platform, call.by, vin)
    events = await api.platform.order_management.vehicles.history(vin)
    return json_response(
        200, answer_from(VehicleWithEvents, vehicle, events=events, **_made(vehicle))
    )


async def list_vehicles(api: Api, call: Call) -> Response:
    """List vehicles by VIN. Restricted keys can list only the stock: `?state=sin asignar`."""
    query = LISTED.read(call.scope["query_string"])
    state = query.state
    if call.by.is_restricted:
        if state not in {None, VehicleState.SIN_ASIGNAR}:
            refuse_narrowed(call.by)
        state = VehicleState.SIN_ASIGNAR
    page = await api.platform.order_management.vehicles.listed(
        state=state, model=query.model, after=query.cursor
    )
    shown, more = page_of(page, query.limit, lambda row: row.vin)
    return json_response(
        200, VehiclePage(data=[_to_response(vehicle) for vehicle in shown], next_cursor=more)
    )


async def vehicle_command_keys(api: Api, _call: Call) -> Response:
    """Return the public keys that sign commands to vehicles."""
    known = api.settings.vehicle_command_keys
    return json_response(
        200, CommandKeysAnswer([CommandKeyAnswer(key.key_id, key.public_key) for key in known])
    )


def vin_of(call: Call) -> str:
    """Return the VIN in the path.

    Raises:
        InvalidParameterError: it is not a valid VIN.
    """
    vin = str(call.ids["vin"])
    if _VIN.match(vin) is None:
        raise InvalidParameterError("A VIN consists of 3 to 32 upper-case letters, digits and -.")
    return vin


def _model_of(call: Call) -> str:
    """Return the model in the path.

    Raises:
        InvalidParameterError: it is not the name of a model.
    """
    try:
        return msgspec.convert(call.ids["model"], Name)
    except msgspec.ValidationError:
        sentence = f"A model's name has 1 to {NAME_CHARS_MAX} characters on one line."
        raise InvalidParameterError(sentence) from None


def _to_response(vehicle: Vehicle) -> VehicleAnswer:
    return answer_from(VehicleAnswer, vehicle, **_made(vehicle))


def _made(vehicle: Vehicle) -> dict[str, object]:
    key = vehicle.public_key
    return {
        "public_key": base64.b64encode(key).decode() if key else None,
        "links": {"self": f"/v1/vehicles/{vehicle.vin}"},
    }


VEHICLE_OPERATIONS: Final = (
    Operation(
        id="putModel", tag=TAG, method="PUT", path="/v1/models/{model:str}", body=MODEL,
        scopes=frozenset({Scope.ORDER_MANAGEMENT, Scope.OPERATIONS}),
        answers={200: ModelAnswer}, handle=put_model,
    ),
    Operation(
        id="listModels", narrowed=True, tag=TAG, method="GET", path="/v1/models",
        answers={200: ModelList}, handle=list_models,
    ),
    Operation(
        id="putVehicle", tag=TAG, method="PUT", path="/v1/vehicles/{vin:str}", body=PUT,
        scopes=frozenset({Scope.ORDER_MANAGEMENT, Scope.OPERATIONS}),
        answers={200: VehicleAnswer, 409: Problem}, handle=put_vehicle,
    ),
    Operation(
        id="returnVehicle", narrowed=True,
        tag=TAG, method="POST", path="/v1/vehicles/{vin:str}/return",
        scopes=frozenset({Scope.ORDER_MANAGEMENT, Scope.OPERATIONS}), body=NOTHING,
        answers={200: VehicleAnswer, 404: Problem, 409: Problem}, handle=return_vehicle,
    ),
    Operation(
        id="getVehicle", narrowed=True, tag=TAG, method="GET", path="/v1/vehicles/{vin:str}",
        answers={200: VehicleWithEvents, 404: Problem}, handle=get_vehicle,
    ),
    Operation(
        id="listVehicles", narrowed=True, tag=TAG, method="GET", path="/v1/vehicles", query=LISTED,
        answers={200: VehiclePage}, handle=list_vehicles,
    ),
    Operation(
        id="vehicleCommandKeys", narrowed=True,
        tag=TAG, method="GET", path="/v1/vehicle-command-keys",
        answers={200: CommandKeysAnswer}, handle=vehicle_command_keys,
    ),
)  # fmt: skip
