"""Subscriptions that are simply there, for tests of month ends: written as the database demands."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg

from caas.billing_database.connection import Database
from caas.billing_database.identifiers import new_id
from caas.rules.vehicle_signatures import SignedMessage
from tests import cars

MADRID = ZoneInfo("Europe/Madrid")
FEE = 3100
LETTERS = str.maketrans("0123456789", "GHJKLMNPQR")
"""A number of twelve digits among the letters of an id might be that of a card."""

CUSTOMERS = """
insert into customers (id, name, email, language, created_at)
select i, 'Ana', 'ana@example.com', 'es', now() from unnest($1::uuid[]) as s(i)
"""
ADD = """
insert into subscriptions (id, customer, vin, service, currency, monthly_fee, metered,
    payment_method, gateway, created_at, updated_at)
select i, i, v, 'range-plus', $2, f, m, $3, 'contract', now(), now()
  from unnest($1::uuid[], $4::bigint[], $5::jsonb[], $6::text[]) as s(i, f, m, v)
"""
VERIFY = """
update subscriptions set state = 'activating', event = 'Payment method verified', version = 2
 where id = any ($1)
"""
COMMAND = """
insert into ota_commands (command_id, subject, vin, service, action, purpose, deadline, created_at)
select s.id, s.id, s.vin, s.service, 'activate', 'subscription', now(), now()
  from subscriptions s where s.id = any ($1)
"""
COMMANDED = "select command_id, epoch, vin, service from ota_commands where command_id = any ($1)"
EVIDENCE = """
insert into delivery_evidence (id, subject, kind, command_id, action, epoch, vin, service, status,
    at, signature, verified, recorded_at)
select i, i, 'vehicle_acknowledgement', i, c.action, c.epoch, c.vin, c.service, 'SUCCEEDED',
       'then', w, true, now()
  from unnest($1::uuid[], $2::bytea[]) as s(i, w) join ota_commands c on c.command_id = i
"""
ACTIVATE = """
update subscriptions s set state = 'active', event = 'Service Active', version = 3,
       activation_evidence = s.id, activated_at = w.a, updated_at = w.a
  from unnest($1::uuid[], $2::timestamptz[]) as w(i, a) where s.id = w.i
"""
CANCEL = """
update subscriptions s set state = 'cancelled', version = 4, cancelled_at = w.c, updated_at = w.c,
       event = 'Customer ends subscription', cancelled_because = 'customer', deactivated_at = w.d
  from unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[]) as w(i, c, d)
 where s.id = w.i and w.c is not null
"""
TERMS = """
insert into entitlement_terms (id, entitlement, customer, subscription, state, starts_at,
    reserved_at, updated_at, by_fleet)
select gen_random_uuid(), e.id, s.customer, s.id, 'granted', s.activated_at, now(), now(), true
  from subscriptions s join entitlements e on (e.vin, e.service) = (s.vin, s.service)
 where s.id = any ($1)
"""
ENDED = """
update entitlement_terms t set state = 'ended', ends_at = least(s.cancelled_at, s.deactivated_at),
       ended_because = 'subscription cancelled'
  from subscriptions s where s.id = t.subscription and s.state <> 'active' and s.id = any ($1)
"""
SWITCHED_OFF = """
update entitlements e set last_command = k.command_id
  from (select distinct on (vin, service) vin, service, command_id from ota_commands
         order by vin, service, epoch desc) k
 where (k.vin, k.service) = (e.vin, e.service);
update entitlements e set reported_on = false
 where not exists (select from entitlement_terms t where t.entitlement = e.id and t.ends_at is null)
"""
USE = """
insert into usage_records (subscription, source_id, unit, quantity, at, recorded_at)
select s, gen_random_uuid()::text, u, q, a, now()
  from unnest($1::uuid[], $2::text[], $3::bigint[], $4::timestamptz[]) as w(s, u, q, a)
"""


def vin_of(subscription: UUID) -> str:
    """The vehicle of a subscription that shares it with no other."""
    return f"VIN{str(subscription)[-29:].translate(LETTERS)}".upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What happened to one subscription before the month ended."""

    activated_at: datetime
    cancelled_at: datetime | None = None
    deactivated_at: datetime | None = None
    fee: int = FEE
    metered: tuple[tuple[str, int], ...] = ()
    used: tuple[tuple[str, int, datetime], ...] = ()
    id: UUID = field(default_factory=new_id)
    shared_vin: str | None = None

    @property
    def vin(self) -> str:
        """The vehicle: its own, or one that has other subscriptions."""
        return self.shared_vin or vin_of(self.id)


async def put(
    database: Database, pasts: list[Past], *, method: str = "pm_ok", currency: str = "EUR"
) -> list[UUID]:
    """Write subscriptions with their pasts; return their ids."""
    admin = await asyncpg.connect(database.dsn, server_settings={"search_path": "caas,public"})
    ids = [past.id for past in pasts]
    metered = [
        "[" + ",".join(f'{{"unit": "{u}", "unit_price": {p}}}' for u, p in past.metered) + "]"
        for past in pasts
    ]
    async with admin.transaction():
        await admin.execute(
            "insert into services (code, name, kind, currency, monthly_fee, updated_at)"
            " values ('range-plus', 'Range plus', 'subscription', $1, 0, now())"
            " on conflict do nothing",
            currency,
        )
        await admin.execute(CUSTOMERS, ids)
        vins = [past.vin for past in pasts]
        await cars.put(admin, *vins)
        await admin.execute(ADD, ids, currency, method, [p.fee for p in pasts], metered, vins)
        await admin.execute(VERIFY, ids)
        await admin.execute(COMMAND, ids)
        stated = {
            row["command_id"]: cars.signature(
                SignedMessage(
                    vin=row["vin"], command_id=str(row["command_id"]), epoch=row["epoch"],
                    payment_id=str(row["command_id"]), service=row["service"],
                    action="activate", status="SUCCEEDED", at="then",
                )
            )
            for row in await admin.fetch(COMMANDED, ids)
        }  # fmt: skip
        await admin.execute(EVIDENCE, list(stated), list(stated.values()))
        await admin.execute(ACTIVATE, ids, [past.activated_at for past in pasts])
        await admin.execute(
            CANCEL,
            ids,
            [past.cancelled_at for past in pasts],
            [past.deactivated_at for past in pasts],
        )
        await admin.execute(TERMS, ids)
        await admin.execute(ENDED, ids)
        await admin.execute(SWITCHED_OFF)
        used = [(past.id, *use) for past in pasts for use in past.used]
        if used:
            await admin.execute(USE, *map(list, zip(*used, strict=True)))
    await admin.close()
    return ids
