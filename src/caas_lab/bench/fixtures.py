"""What the measurements of payments share: a platform on one database, and unpaid orders.

Rule a change must keep: what is prepared here is not measured.
"""

import base64
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final
from uuid import UUID

import msgspec

from caas import app
from caas.billing_database import connection
from caas.billing_database.connection import Database
from caas.billing_database.identifiers import new_id
from caas.cli.commands import freeze_long_lived_objects
from caas.external_systems.admin_registration import AdminRegistration
from caas.external_systems.encryption_at_rest import (
    EVENT_SUBSCRIPTIONS,
    KEY_BYTES,
    EncryptionAtRest,
)
from caas.external_systems.factory import Factory
from caas.external_systems.http import HttpClient
from caas.external_systems.in_process_vehicle_link import InProcessVehicleLink
from caas.external_systems.local_outbox import LocalOutbox
from caas.external_systems.payment_gateway import PaymentGateway
from caas.external_systems.transport_system import TransportSystem
from caas.external_systems.vehicle_command_keys import PRIVATE_KEY_BYTES, VehicleCommandKeys
from caas.external_systems.vehicle_messages import Unusable
from caas.local_machine import vehicles_at_hand
from caas.order_management import OrderPartners
from caas.platform import Platform, build_platform
from caas.platform_inputs import Partners, PlatformTerms
from caas.rules.money import Money
from caas.rules.time_scale import TimeScale
from caas.settings import DEFAULT_MARKET, data_dir, read_market

VEHICLES: Final = 200
QUICK_VEHICLES: Final = 100
"""More than the connections: of two concurrent payments for one service of one car, one may be
voided."""
AMOUNT: Final = 1299
SERVICE: Final = "heated-seats"
DAYS: Final = 30
PIECES: Final = 20_000
QUICK_PIECES: Final = 1_000

ADD_SERVICES: Final = """
insert into services (code, name, kind, currency, prices, updated_at)
select distinct code, 'Heated seats', 'one_time', 'EUR', '[]'::jsonb, db_now()
  from unnest($1::text[]) as s(code) on conflict do nothing
"""
# A pending purchase blocks the next one of its service and vehicle, so each order is the first of
# its kind.
ADD_ORDERS: Final = """
with o as (select * from unnest($1::uuid[], $3::text[], $4::text[]) as o(id, vin, service)),
placed as (
  insert into service_orders
    (id, customer, vin, service, duration_days, amount, currency, created_at)
  select o.id, $2, o.vin, o.service, $5, $6, 'EUR', db_now() from o)
select r.obstacle
  from o cross join lateral reserve_term(o.vin, o.service, $2, o.id, null, $5, 1, true) r
"""


class PlatformFixture(msgspec.Struct):
    """A platform, and orders to pay for."""

    database: Database
    platform: Platform
    customer: UUID
    vins: list[str]
    quick: bool = False
    ordered: int = 0

    @property
    def pieces(self) -> int:
        """How many orders one measurement prepares."""
        return QUICK_PIECES if self.quick else PIECES

    async def fresh_orders(self, count: int | None = None) -> list[UUID]:
        """Insert orders with their reserved terms."""
        ids = [new_id() for _ in range(count or self.pieces)]
        numbers = range(self.ordered, self.ordered + len(ids))
        self.ordered += len(ids)
        vins = [self.vins[n % len(self.vins)] for n in numbers]
        services = [f"{SERVICE}-{n // len(self.vins)}" for n in numbers]
        await self.database.fetch(ADD_SERVICES, services)
        await self.database.fetch(ADD_ORDERS, ids, self.customer, vins, services, DAYS, AMOUNT)
        self.platform.service_catalog.remember_reserved(ids)
        return ids


@asynccontextmanager
async def started(
    dsn: str,
    gateway: PaymentGateway,
    *,
    quick: bool = False,
    key_of: Callable[[str], Awaitable[bytes]] | None = None,
) -> AsyncIterator[PlatformFixture]:
    """Build a platform with vehicles and a gateway in this process.

    `key_of` returns the public keys of vehicles that are simulated elsewhere.
    """
    async with AsyncExitStack() as stack:
        database = await connection.connect(dsn)
        stack.push_async_callback(database.close)
        keys = VehicleCommandKeys([secrets.token_bytes(PRIVATE_KEY_BYTES)])
        fleet = vehicles_at_hand(1.0, keys)
        fleet.reports_in_progress = False
        link = InProcessVehicleLink(fleet, now=app.now, command_keys=keys, on_refused=_fail)
        nobody = HttpClient("http://127.0.0.1:9", partner="nobody")
        platform = build_platform(
            database,
            Partners(
                gateway=gateway,
                vehicles=link,
                order_partners=OrderPartners(
                    factory=Factory(nobody),
                    admin_registration=AdminRegistration(nobody),
                    transport_system=TransportSystem(nobody),
                ),
                channel=LocalOutbox(data_dir({}) / "bench-outbox"),
            ),
            PlatformTerms(
                market=read_market(DEFAULT_MARKET),
                time_scale=TimeScale(1.0),
                public_url="http://127.0.0.1",
                folder=data_dir({}) / "bench-reconciliation",
                event_secrets=EncryptionAtRest([b"k" * KEY_BYTES], EVENT_SUBSCRIPTIONS),
            ),
        )
        await platform.vehicle_responses.start(platform.jobs)
        stack.push_async_callback(link.close)
        fleet.add_many(QUICK_VEHICLES if quick else VEHICLES)
        car_keys = {
            vin: await key_of(vin) if key_of else base64.b64decode(fleet.public_key(car))
            for vin, car in fleet.cars.items()
        }
        fixture = await _fixture(database, platform, car_keys, quick=quick)
        freeze_long_lived_objects()
        yield fixture


async def _fixture(
    database: Database, platform: Platform, keys: Mapping[str, bytes], *, quick: bool
) -> PlatformFixture:
    for vin, key in keys.items():
        await platform.order_management.put_vehicle(
            vin=vin, model="Uno", price=Money(3_000_000, "EUR"), public_key=key, finished=True
        )
    await platform.service_catalog.put_service(
        code=SERVICE,
        name="Heated seats",
        kind="one_time",
        currency="EUR",
        prices=[{"duration_days": DAYS, "amount": AMOUNT}],
    )
    customer = await platform.order_management.ordering.create_customer(
        name="Ana", email="ana@example.com", language="es"
    )
    return PlatformFixture(database, platform, customer.id, list(keys), quick=quick)


def _fail(topic: str, _reason: Unusable, sentence: str) -> None:
    raise AssertionError(f"an acknowledgement was refused on {topic}: {sentence}")
