"""Checks that the schema's triggers and their functions match the migrations.

The schema's owner could drop or disable a trigger or replace its function; this check detects it.

Rule a change must keep: the expected state is read from the migrations.
"""

import re
from collections.abc import Iterator
from hashlib import md5
from typing import Final

from caas.billing_database import migrations

TRIGGER: Final = re.compile(
    r"create (?:constraint )?trigger (?P<trigger>\w+)[^;]*?\son (?P<table>\w+)"
    r"|drop trigger (?P<gone>\w+) on (?P<of>\w+)",
    re.DOTALL,
)
FUNCTION: Final = re.compile(
    r"create (?:or replace )?function (?P<name>\w+)\(.*?\bas\s*\$\$(?P<body>.*?)\$\$"
    r"|drop function (?P<gone>\w+)",
    re.DOTALL,
)


def _triggers() -> Iterator[tuple[str, str]]:
    """Yield the triggers that the migrations create, by table."""
    written = dict[tuple[str, str], None]()
    for sql in migrations.files().values():
        for found in TRIGGER.finditer(sql):
            if found["gone"]:
                written.pop((found["of"], found["gone"]), None)
            else:
                written[found["table"], found["trigger"]] = None
    yield from written


def _functions() -> Iterator[tuple[str, str]]:
    """Yield the functions that the migrations create, with the digest of each body."""
    written = dict[str, str]()
    for sql in migrations.files().values():
        for found in FUNCTION.finditer(sql):
            if found["gone"]:
                written.pop(found["gone"], None)
            else:
                body = found["body"].encode()
                written[found["name"]] = md5(body, usedforsecurity=False).hexdigest()
    yield from written.items()


def _values(pairs: Iterator[tuple[str, str]]) -> str:
    return ", ".join(f"('{one}', '{other}')" for one, other in pairs)


AWAY: Final = f"""
with written (of_table, name) as (values {_values(_triggers())}),
     meant (name, body) as (values {_values(_functions())})
select w.of_table || ': ' || w.name from written w
  left join (pg_trigger t join pg_class c on c.oid = t.tgrelid
             join pg_namespace n on n.oid = c.relnamespace and n.nspname = 'caas')
    on t.tgname = w.name and c.relname = w.of_table
 where t.tgenabled is distinct from 'A'
union all
select c.relname || ': a foreign key sleeps' from pg_trigger t
  join pg_class c on c.oid = t.tgrelid join pg_namespace n on n.oid = c.relnamespace
 where n.nspname = 'caas' and t.tgisinternal and t.tgenabled not in ('A', 'O')
union all
select m.name from meant m
  left join (pg_proc p join pg_namespace n on n.oid = p.pronamespace and n.nspname = 'caas')
    on p.proname = m.name
 where md5(p.prosrc) is distinct from m.body
"""

ACKNOWLEDGED: Final = """
select e.id::text, e.vin, e.command_id::text, e.epoch, e.subject::text, e.service,
          case when e.signs_action then e.action end, e.status, e.at, e.signature, v.public_key
     from delivery_evidence e left join vehicles v on v.vin = e.vin
    where e.verified and e.kind = 'vehicle_acknowledgement'"""
"""Verified acknowledgements, with the key that must have signed each."""
