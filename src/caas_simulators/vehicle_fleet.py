"""The simulated vehicles of Diagram 4: apply commands once, sign their answers, and misbehave.

This module has no connection: commands enter through `Fleet.receive`, answers leave through the
function given to `Fleet.attach`, so that the same cars work behind a broker and in-process.

Rules a change must keep:

- A command id is applied once and answered each time it is received. A command that was refused or
  failed was not applied, and may be tried again.
- A command that no known key signed for this car is neither applied nor answered, only counted: an
  answer would be a signature that a stranger obtained.
- A command whose epoch is not above the last one applied to the same service is rejected.
- Misbehaviour changes a car's answers or their timing; `services` and `GET /_control/fleet` show
  what it really did.
- A car's key depends on the seed and its VIN alone.
- A car's state is stored before it answers, so that a restart loses nothing.
"""

import asyncio
import base64
import re
from collections.abc import Callable, Mapping

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from caas_simulators.simulated_time import Clock, rfc3339
from caas_simulators.vehicle_car import (
    OPPOSITE,
    PERSONALITIES,
    Answer,
    Behaviour,
    Car,
    Command,
    Manner,
    Service,
    answer_to,
    derived_key,
    manner_for,
    signed_text,
)
from caas_simulators.vehicle_command_keys import CommandKeys
from caas_simulators.vehicle_memory import CommandApplied, FleetMemory, QueueTaken, queued

APPLIED_REMEMBERED_MAX = 10_000
QUEUED_WHILE_ASLEEP_MAX = 1_000
NOT_NEWER = "this command or a newer one was applied before"
NOT_FITTED = "the vehicle is not fitted for this service"

_TOPIC = re.compile(r"caas/v1/vehicles/(?P<vin>[^/]+)/commands/(?P<command_id>[^/]+)/request")

Publish = Callable[[str, bytes], None]


_COMMANDS = msgspec.json.Decoder(Command)
_ANSWERS = msgspec.json.Encoder()


class Fleet:
    """All cars behind one connection."""

    def __init__(  # noqa: PLR0913  # what a fleet is made with, by name
        self,
        seed: int = 0,
        *,
        command_keys: Mapping[str, bytes] | None = None,
        clock: Clock | None = None,
        latency_seconds: float = 0.0,
        reports_in_progress: bool = True,
        takes_in_strangers: bool = False,
        memory: FleetMemory | None = None,
    ) -> None:
        """Start with the stored cars; `takes_in_strangers` creates a car for every new VIN.

        `command_keys` are the platform's public keys by id; without one, no command is applied.
        """
        self.seed = seed
        self.command_keys = CommandKeys(command_keys or {})
        self.clock = clock or Clock()
        self.latency_seconds = latency_seconds
        self.reports_in_progress = reports_in_progress
        self.takes_in_strangers = takes_in_strangers
        self._memory = memory or FleetMemory(None)
        self.cars = self._memory.recall(
            applied_max=APPLIED_REMEMBERED_MAX, queued_max=QUEUED_WHILE_ASLEEP_MAX
        )
        self.not_understood = 0
        self.not_believed = 0
        self._publish: Publish | None = None

    def attach(self, publish: Publish) -> None:
        """Set the function that publishes answers: a topic and a payload."""
        self._publish = publish

    def add(self, vin: str, manner: Manner | None = None) -> Car:
        """Add a car, or set the manner of the one with this VIN."""
        car = self.cars.get(vin)
        if car is None:
            habit = Manner(PERSONALITIES.get(vin[:3], Behaviour.OBEYS))
            car = self.cars[vin] = Car(vin, manner or habit)
            self._memory.keep(car)
        elif manner is not None:
            self.give_manner(car, manner)
        return car

    def give_manner(self, car: Car, manner: Manner) -> None:
        """Set a car's manner."""
        car.manner = manner
        self._memory.keep(car)

    def add_many(self, count: int) -> None:
        """Add cars with VINs derived from the seed."""
        for number in range(count):
            self.add(f"SMC{self.seed % 10_000:04d}{number:010d}")

    def public_key(self, car: Car) -> str:
        """Return the car's public key, base64."""
        return base64.b64encode(self._key(car).public_key().public_bytes_raw()).decode()

    def receive(self, topic: str, payload: bytes, expiry_seconds: float | None) -> None:
        """Pass a request to the car it addresses; count invalid ones."""
        address = _TOPIC.fullmatch(topic)
        if address is None:
            self.not_understood += 1
            return
        vin = address["vin"]
        car = self.cars.get(vin) or (self.add(vin) if self.takes_in_strangers else None)
        if car is None:
            return
        if car.manner.behaviour is Behaviour.ASLEEP:
            lasts = float("inf") if expiry_seconds is None else expiry_seconds
            expires_at = self.clock.machine_now() + lasts
            car.asleep.append((expires_at, payload))
            self._memory.keep(car, queued(car, expires_at, payload))
            if len(car.asleep) > QUEUED_WHILE_ASLEEP_MAX:
                car.asleep.popleft()
            return
        self._take(car, payload)

    def wake(self, car: Car, manner: Manner | None = None) -> int:
        """Wake a car; it handles its unexpired commands. Return their number."""
        car.manner = manner or Manner()
        now = self.clock.machine_now()
        waiting = tuple(car.asleep)
        car.asleep.clear()
        fresh = [payload for expires_at, payload in waiting if expires_at > now]
        car.expired += len(waiting) - len(fresh)
        self._memory.keep(car, QueueTaken(vin=car.vin))
        for payload in fresh:
            self._take(car, payload)
        return len(fresh)

    def say(self, car: Car, answer: Answer, behaviour: Behaviour = Behaviour.OBEYS) -> None:
        """Make a car publish any answer, requested or not."""
        self._send(car, self._signed(car, answer, behaviour))

    def _take(self, car: Car, payload: bytes) -> None:
        try:
            command = _COMMANDS.decode(payload)
        except msgspec.DecodeError:
            self.not_understood += 1
            return
        credulous = car.manner.behaviour is Behaviour.CREDULOUS
        if not (credulous or self.command_keys.signed(car.vin, command)):
            self.not_believed += 1
            return
        car.commands += 1
        manner = manner_for(car, command)
        self._memory.keep(car)
        self._respond(car, command, manner)

    def _respond(self, car: Car, command: Command, manner: Manner) -> None:
        behaviour = manner.behaviour
        if command.command_id in car.applied:
            self._answer_applied(car, command, manner)
        elif not (self._is_news(car, command) or behaviour is Behaviour.CREDULOUS):
            self._answer(car, command, "REJECTED", NOT_NEWER)
        elif command.service in car.manner.lacks:
            self._answer(car, command, "REJECTED", NOT_FITTED)
        elif behaviour is Behaviour.REFUSES:
            self._answer(car, command, "REJECTED", manner.reason or "refused in the vehicle")
        elif behaviour is Behaviour.FAILS:
            self._answer(car, command, "FAILED", manner.reason or "the configuration failed")
        else:
            self._apply(car, command)
            self._answer_applied(car, command, manner)

    def _is_news(self, car: Car, command: Command) -> bool:
        return car.services.setdefault(command.service, Service()).epoch < command.epoch

    def _apply(self, car: Car, command: Command) -> None:
        service = car.services[command.service]
        service.epoch = command.epoch
        service.active = command.action == "activate"
        service.command_id = command.command_id
        if service.active:
            service.payment_id = command.payment_id
            service.valid_until = command.valid_until
            service.applications += 1
        else:
            service.deactivations += 1
        at = rfc3339(self.clock.machine_now())
        car.applied[command.command_id] = at
        applied = CommandApplied(vin=car.vin, command_id=command.command_id, at=at)
        self._memory.keep(car, applied)
        if len(car.applied) > APPLIED_REMEMBERED_MAX:
            car.applied.popitem(last=False)

    def _answer_applied(self, car: Car, command: Command, manner: Manner) -> None:
        behaviour = manner.behaviour
        if behaviour is Behaviour.SILENT:
            return
        at = car.applied[command.command_id]
        done = self._signed(car, answer_to(command, "SUCCEEDED", None, at), behaviour)
        doing = answer_to(command, "IN_PROGRESS", None, at)
        if self.reports_in_progress and behaviour not in (Behaviour.EARLY, Behaviour.REVERSED):
            self._send(car, self._signed(car, doing, Behaviour.OBEYS))
        self._send_after(car, done, self._wait_seconds(manner))
        if behaviour is Behaviour.TWICE:
            self._send_after(car, done, self._wait_seconds(manner))
        if behaviour is Behaviour.REVERSED:
            self._send(car, self._signed(car, doing, Behaviour.OBEYS))

    def _wait_seconds(self, manner: Manner) -> float:
        if manner.behaviour in (Behaviour.EARLY, Behaviour.REVERSED):
            return 0.0
        late = manner.delay_seconds if manner.behaviour is Behaviour.LATE else 0.0
        return self.clock.span(late + self.latency_seconds)

    def _answer(self, car: Car, command: Command, status: str, reason: str) -> None:
        at = rfc3339(self.clock.machine_now())
        answer = answer_to(command, status, reason, at)
        self._send_after(
            car,
            self._signed(car, answer, Behaviour.OBEYS),
            self.clock.span(self.latency_seconds),
        )

    def _send_after(self, car: Car, answer: Answer, wait_seconds: float) -> None:
        if wait_seconds <= 0:
            self._send(car, answer)
        else:
            asyncio.get_running_loop().call_later(wait_seconds, self._send, car, answer)

    def _send(self, car: Car, answer: Answer) -> None:
        if self._publish is not None:
            topic = f"caas/v1/vehicles/{car.vin}/commands/{answer.command_id}/response"
            self._publish(topic, _ANSWERS.encode(answer))

    def _signed(self, car: Car, answer: Answer, behaviour: Behaviour) -> Answer:
        if behaviour is Behaviour.OLD_EPOCH:
            answer = msgspec.structs.replace(answer, epoch=max(0, answer.epoch - 1))
        elif behaviour is Behaviour.WRONG_PAYMENT:
            answer = msgspec.structs.replace(answer, payment_id=f"not-{answer.payment_id}")
        elif behaviour is Behaviour.WRONG_ACTION:
            answer = msgspec.structs.replace(answer, action=OPPOSITE[answer.action])
        foreign = behaviour is Behaviour.FOREIGN_KEY
        key = self._foreign_key(car) if foreign else self._key(car)
        signature = key.sign(signed_text(car, answer))
        if behaviour is Behaviour.FORGES:
            signature = bytes([signature[0] ^ 1]) + signature[1:]
        return msgspec.structs.replace(answer, signature=base64.b64encode(signature).decode())

    def _key(self, car: Car) -> Ed25519PrivateKey:
        if car.key is None:
            car.key = derived_key(f"{self.seed}|{car.vin}")
        return car.key

    def _foreign_key(self, car: Car) -> Ed25519PrivateKey:
        if car.foreign_key is None:
            car.foreign_key = derived_key(f"{self.seed}|{car.vin}|foreign")
        return car.foreign_key
