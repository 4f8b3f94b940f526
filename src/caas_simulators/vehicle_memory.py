"""The stored state of the simulated cars, which survives a restart of their process.

Rules a change must keep: a change is written before its answer is sent; a file of an earlier
version is read as far as its fields are known; one process at a time writes it (`journal`).
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from caas_simulators.journal import Journal
from caas_simulators.vehicle_car import Car, Manner, Service


class CarKept(msgspec.Struct, kw_only=True, tag_field="record", tag="car"):
    """A car's state after a change."""

    vin: str
    manner: Manner
    commands: int
    expired: int
    services: dict[str, Service]


class CommandApplied(msgspec.Struct, kw_only=True, tag_field="record", tag="applied"):
    """A command that a car applied, and when."""

    vin: str
    command_id: str
    at: str


class RequestQueued(msgspec.Struct, kw_only=True, tag_field="record", tag="queued"):
    """A request that waits for a sleeping car; `expires_at` in seconds since 1970, None never."""

    vin: str
    expires_at: float | None
    payload: bytes


class QueueTaken(msgspec.Struct, kw_only=True, tag_field="record", tag="queue_taken"):
    """A car woke and handled its queue."""

    vin: str


Record = CarKept | CommandApplied | RequestQueued | QueueTaken


class FleetMemory:
    """The journal of a fleet; without a path nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        """Open the journal."""
        self._journal: Journal[Record] = Journal(path, msgspec.json.Decoder(Record))
        self._keeps = path is not None

    def recall(self, *, applied_max: int, queued_max: int) -> dict[str, Car]:
        """Return the stored cars."""
        cars: dict[str, Car] = {}
        for record in self._journal.replay():
            car = cars.get(record.vin)
            match record:
                case CarKept():
                    car = car or cars.setdefault(record.vin, Car(record.vin, record.manner))
                    car.manner, car.services = record.manner, record.services
                    car.commands, car.expired = record.commands, record.expired
                case CommandApplied() if car is not None:
                    car.applied[record.command_id] = record.at
                    if len(car.applied) > applied_max:
                        car.applied.popitem(last=False)
                case RequestQueued() if car is not None:
                    lasts_until = record.expires_at
                    until = float("inf") if lasts_until is None else lasts_until
                    car.asleep.append((until, record.payload))
                    if len(car.asleep) > queued_max:
                        car.asleep.popleft()
                case QueueTaken() if car is not None:
                    car.asleep.clear()
                case _:
                    pass
        self._journal.compact_with(lambda: _snapshot(cars))
        return cars

    def keep(self, car: Car, *more: Record) -> None:
        """Store a car's state, and what happened to it."""
        if self._keeps:
            self._journal.write(_kept(car), *more)

    def compact(self) -> None:
        """Replace the journal by a snapshot of the cars."""
        self._journal.compact()

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()


def _snapshot(cars: dict[str, Car]) -> Iterator[Record]:
    """Yield records that restore these cars."""
    for car in cars.values():
        yield _kept(car)
        for command_id, at in car.applied.items():
            yield CommandApplied(vin=car.vin, command_id=command_id, at=at)
        for expires_at, payload in car.asleep:
            yield queued(car, expires_at, payload)


def queued(car: Car, expires_at: float, payload: bytes) -> RequestQueued:
    """Return the record of a waiting request."""
    forever = expires_at == float("inf")
    return RequestQueued(vin=car.vin, expires_at=None if forever else expires_at, payload=payload)


def _kept(car: Car) -> CarKept:
    return CarKept(
        vin=car.vin,
        manner=car.manner,
        commands=car.commands,
        expired=car.expired,
        services=car.services,
    )
