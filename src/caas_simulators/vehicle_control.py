"""The control plane of the simulated vehicles, and the record of what they really did.

A real vehicle has no such interface. `GET /_control/` lists the calls.

Rules a change must keep: an unknown field or behaviour is rejected; a rejected call changes
nothing.
"""

import msgspec

from caas_simulators.http_server import Answer, Request, json_answer, problem, unknown_path
from caas_simulators.vehicle_car import Answer as VehicleAnswer
from caas_simulators.vehicle_car import Behaviour, Car, Manner
from caas_simulators.vehicle_command_keys import PublishedKeys, known_keys
from caas_simulators.vehicle_fleet import Fleet

VEHICLES = "/_control/vehicles"
PATHS = {
    "GET /_control/": "this list, with every behaviour of a car",
    "GET /_control/fleet": "every car; ?latest=20 for the newest",
    "GET /_control/vehicles/{vin}": "its key, its manner, and the services that are really active",
    "PUT /_control/command-keys": "the keys that may sign commands, as they are published",
    "POST /_control/vehicles": "{vin, behaviour?, reason?} a new car, or the one with this VIN",
    "POST /_control/vehicles/{vin}": "{behaviour, reason?, delay_seconds?, only?, times?, lacks?} "
    "manner",
    "POST /_control/vehicles/{vin}/wake": "wake it; an optional manner as body",
    "POST /_control/vehicles/{vin}/say": "{acknowledgement: {command_id, epoch, payment_id, "
    "service, action, status, status_reason, at}, behaviour?} what nobody asked for",
}


class NewCar(msgspec.Struct, forbid_unknown_fields=True):
    """The body that adds a car."""

    vin: str
    behaviour: Behaviour | None = None
    reason: str = ""


class Saying(msgspec.Struct, forbid_unknown_fields=True):
    """The body that makes a car send an unrequested message."""

    acknowledgement: VehicleAnswer
    behaviour: Behaviour = Behaviour.OBEYS


class StrictManner(Manner, frozen=True, forbid_unknown_fields=True):
    """The body that sets a car's manner."""


class FleetControl:
    """Handles the control plane's calls for one fleet."""

    def __init__(self, fleet: Fleet) -> None:
        """Control this fleet."""
        self._fleet = fleet

    def handle(self, request: Request) -> Answer:
        """Handle a call."""
        try:
            return self._routed(request)
        except msgspec.ValidationError as error:
            return problem(422, "invalid_request", str(error))
        except msgspec.DecodeError:
            return problem(400, "malformed_json", "The body is not JSON.")

    def _routed(self, request: Request) -> Answer:
        path = request.path.rstrip("/")
        match request.method, path:
            case "GET", "/_control":
                return json_answer(200, {"paths": PATHS, "behaviours": [*Behaviour]})
            case "GET", "/_control/fleet":
                latest = request.query.get("latest", "")
                cars = [*self._fleet.cars.values()]
                if latest.isascii() and latest.isdigit():
                    cars = cars[-int(latest) :] if int(latest) else []
                return json_answer(200, {"vehicles": [*map(self._reported, cars)]})
            case "PUT", "/_control/command-keys":
                return self._learn_keys(request)
            case "POST", "/_control/vehicles":
                return self._add(request)
            case _ if path.startswith(f"{VEHICLES}/"):
                vin, _, verb = path.removeprefix(f"{VEHICLES}/").partition("/")
                return self._one(request, vin, verb)
            case _:
                return unknown_path()

    def _add(self, request: Request) -> Answer:
        body = msgspec.json.decode(request.body, type=NewCar)
        if not body.vin or any(sign in body.vin for sign in "/+#|"):
            return problem(422, "invalid_vin", "A VIN holds none of / + # and |.")
        manner = None if body.behaviour is None else Manner(body.behaviour, body.reason)
        return json_answer(201, self._reported(self._fleet.add(body.vin, manner)))

    def _learn_keys(self, request: Request) -> Answer:
        published = msgspec.json.decode(request.body, type=PublishedKeys)
        try:
            self._fleet.command_keys.learn(known_keys(published.data))
        except ValueError:
            return problem(422, "invalid_key", "A public key is 32 bytes in base64.")
        return json_answer(200, published)

    def _one(self, request: Request, vin: str, verb: str) -> Answer:
        car = self._fleet.cars.get(vin)
        if car is None:
            return problem(404, "unknown_vehicle", f"There is no vehicle {vin}.")
        match request.method, verb:
            case "GET", "":
                return json_answer(200, self._reported(car))
            case "POST", "":
                self._fleet.give_manner(car, msgspec.json.decode(request.body, type=StrictManner))
                return json_answer(200, self._reported(car))
            case "POST", "wake":
                manner = msgspec.json.decode(request.body or b"{}", type=StrictManner)
                taken = self._fleet.wake(car, manner)
                return json_answer(200, {"taken": taken, **self._reported(car)})
            case "POST", "say":
                saying = msgspec.json.decode(request.body, type=Saying)
                self._fleet.say(car, saying.acknowledgement, saying.behaviour)
                return json_answer(200, self._reported(car))
            case _:
                return unknown_path()

    def _reported(self, car: Car) -> dict[str, object]:
        return {
            "vin": car.vin,
            "public_key": self._fleet.public_key(car),
            "manner": car.manner,
            "commands": car.commands,
            "asleep_with": len(car.asleep),
            "expired": car.expired,
            "active": [name for name, service in car.services.items() if service.active],
            "services": car.services,
        }
