"""Sample data of a local installation: accounts, vehicles and services.

`caas up` runs it at every start; it creates only what is missing. In production the stock comes
through the API and staff through the command line.

Rules a change must keep: passwords are generated once, stored in the data folder readable only by
its owner, and never replaced for an existing account; existing stock is not changed; vehicles that
are finished have the key that their simulated counterparts sign with.
"""

import json
import os
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from caas.billing_database.accounts import Role
from caas.console.staff import NewStaff, ensure_staff
from caas.platform import Platform
from caas.rules.money import Money

FILE: Final = "staff.json"
PASSWORD_BYTES: Final = 12
CURRENCY: Final = "EUR"
PEOPLE: Final = (
    ("ventas@autos-sol.example", Role.SALES, "Autos Sol"),
    ("ventas@motor-norte.example", Role.SALES, "Motor Norte"),
    ("operaciones.1@caas.example", Role.OPERATIONS, None),
    ("operaciones.2@caas.example", Role.OPERATIONS, None),
)
"""Two dealerships and two operations accounts, because some decisions need two people."""

MODELS: Final = (("Brisa", 2_450_000), ("Duna", 3_690_000), ("Cierzo GT", 5_290_000))
CARS_OF_A_MODEL: Final = 4
FINISHED_OF_A_MODEL: Final = 2
ONE_TIME: Final = (
    ("heated-seats", "Asientos calefactables", "Heated seats", 1299),
    ("matrix-lights", "Faros matriciales", "Matrix headlights", 990),
    ("assisted-driving", "Conducción asistida", "Assisted driving", 4990),
)
DURATIONS: Final = ((30, 1), (90, 2), (365, 6))
"""Days, and the price as a multiple of the first."""


KeyOf = Callable[[str], Awaitable[bytes]]
"""Create a simulated vehicle with this VIN and return its public key."""


async def first_day(platform: Platform, folder: Path, *, key_of: KeyOf | None) -> list[NewStaff]:
    """Create what is missing, and return the accounts with their passwords.

    Without `key_of` no vehicle is finished: it gets its key when the factory has built it.
    """
    staff = _staff(folder / FILE)
    await ensure_staff(platform.tables.database, staff)
    if not await platform.service_catalog.services():
        await _offer_services(platform)
    if not await platform.order_management.vehicles.listed():
        await _fill_stock(platform, key_of)
    return staff


def _staff(path: Path) -> list[NewStaff]:
    """Return this folder's staff with their passwords, generating them in a new folder."""
    if not path.exists():
        made = {login: secrets.token_urlsafe(PASSWORD_BYTES) for login, _, _ in PEOPLE}
        fresh = path.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(made, file)
        fresh.replace(path)
    passwords = json.loads(path.read_text("utf-8"))
    return [
        NewStaff(login, role, passwords[login], dealership) for login, role, dealership in PEOPLE
    ]


async def _offer_services(platform: Platform) -> None:
    for code, name, in_english, first in ONE_TIME:
        prices = [{"duration_days": days, "amount": first * times} for days, times in DURATIONS]
        await platform.service_catalog.put_service(
            code=code,
            name=name,
            names={"en": in_english},
            kind="one_time",
            currency=CURRENCY,
            prices=prices,
        )
    await platform.service_catalog.put_service(
        code="range-plus", name="Autonomía ampliada", names={"en": "Extended range"},
        kind="subscription", currency=CURRENCY,
        monthly_fee=2990, metered=[{"unit": "kWh", "unit_price": 12}],
    )  # fmt: skip


async def _fill_stock(platform: Platform, key_of: KeyOf | None) -> None:
    number = 0
    for model, price in MODELS:
        for place in range(CARS_OF_A_MODEL):
            number += 1
            vin = f"VSSZZZCAS0R{number:06}"
            key = await key_of(vin) if key_of and place < FINISHED_OF_A_MODEL else None
            await platform.order_management.put_vehicle(
                vin=vin,
                model=model,
                price=Money(price, CURRENCY),
                public_key=key,
                finished=key is not None,
            )
