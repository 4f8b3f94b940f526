"""Compares the database's schema with the one that the migrations create.

`schema_catalog.txt` lists every object that `OBJECTS` finds in a freshly migrated database
(columns, constraints, triggers, functions, views), one per line; `make docs` writes it. The
schema's owner could drop or weaken a constraint, add one without validating it, disable a trigger
or replace its function without leaving another trace; these invariants detect it. They also compare
the transitions of every state diagram in `rules` with those stored in the database. Readiness asks
whether the database has the schema of this version.

Rules a change must keep: read-only; the file is generated, never edited; expected triggers are read
from the migrations and expected transitions from the rules, never copied; definitions are compared
only on the PostgreSQL major version that generated the file, because another one may format them
differently.
"""

import hashlib
import re
from collections.abc import Iterator
from hashlib import md5
from importlib import resources
from typing import Final

import asyncpg

from caas.billing_database import migrations
from caas.billing_database.connection import Database
from caas.billing_database.migrations import files
from caas.rules import order_states, payment_states, subscription_states, vehicle_states
from caas.rules.refusal_codes import CLASS_OF

FILE: Final = "schema_catalog.txt"
DIGEST_CHARS: Final = 12

# Of each object, the facts that all server versions report alike (`state`), and its definition as
# this version formats it, without parentheses and blanks: they differ after a restored dump.
OBJECTS: Final = rf"""
with here as (select oid, relname, relkind, relpersistence, relrowsecurity, relforcerowsecurity
                from pg_class where relnamespace = 'caas'::regnamespace),
objects (kind, of_table, name, state, definition) as (
  select 'table', relname, '', concat_ws(' ', relkind, relpersistence, relrowsecurity,
         relforcerowsecurity), case when relkind = 'v' then pg_get_viewdef(oid) end
    from here where relkind in ('r', 'p', 'v', 'm', 'f')
  union all
  select 'column', c.relname, a.attname,
         case when a.attnotnull then 'required' else 'optional' end || a.attidentity::text
           || a.attgenerated::text,
         concat_ws(' ', format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid))
    from here c join pg_attribute a on a.attrelid = c.oid
    left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
   where c.relkind = 'r' and a.attnum > 0 and not a.attisdropped
  union all
  select 'constraint', c.relname, k.conname,
         k.contype::text || case when k.convalidated then '' else ' not valid' end,
         pg_get_constraintdef(k.oid)
    from here c join pg_constraint k on k.conrelid = c.oid where k.contype not in ('n', 't')
  union all
  select 'index', c.relname, x.relname,
         case when i.indisvalid and i.indisready then 'valid' else 'not valid' end,
         pg_get_indexdef(i.indexrelid)
    from here c join pg_index i on i.indrelid = c.oid join pg_class x on x.oid = i.indexrelid
   where i.indisunique or i.indisexclusion
  union all
  select 'trigger', c.relname, t.tgname, t.tgenabled::text, pg_get_triggerdef(t.oid)
    from here c join pg_trigger t on t.tgrelid = c.oid where not t.tgisinternal
  union all
  select 'function', p.proname, pg_get_function_identity_arguments(p.oid),
         concat_ws(' ', p.prosecdef, p.provolatile, p.proconfig, md5(p.prosrc)), null
    from pg_proc p where p.pronamespace = 'caas'::regnamespace
     and not exists (select from pg_depend d
                      where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
  union all
  select 'rule', c.relname, r.rulename, r.ev_enabled::text, pg_get_ruledef(r.oid)
    from here c join pg_rewrite r on r.ev_class = c.oid where r.rulename <> '_RETURN'
  union all
  select 'policy', c.relname, p.polname, p.polcmd::text, null
    from here c join pg_policy p on p.polrelid = c.oid)
select concat_ws(' ', kind, replace(of_table, ' ', '_'), replace(name, 'caas.', '')) as name,
       left(md5(state), {DIGEST_CHARS}) as state,
       left(md5(regexp_replace(replace(definition, 'caas.', ''), '[()\s]+', '', 'g')),
            {DIGEST_CHARS}) as definition
  from objects
"""


def _expected() -> tuple[int, str]:
    """Return the major version that generated the file, and its lines."""
    first, _, lines = (resources.files("caas.billing_database") / FILE).read_text().partition("\n")
    return int(first.rpartition(" ")[2]), lines.strip()


async def describe(connection: asyncpg.Connection) -> str:
    """Return the file's content for this database."""
    major = connection.get_server_version().major
    rows = await connection.fetch(f"{OBJECTS} order by 1")
    lines = ["\t".join((row["name"], row["state"], row["definition"] or "-")) for row in rows]
    return "\n".join([f"-- made by `make docs` on PostgreSQL {major}", *lines, ""])


_MAJOR, _LINES = _expected()
SCHEMA: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "schema_is_as_migrated",
        "Every column, constraint, index and trigger is as the migrations made it, and none else.",
        f"""with expected as (
             select l[1] as name, l[2] as state, nullif(l[3], '-') as definition
               from string_to_table($lines${_LINES}$lines$, E'\\n') line
              cross join lateral string_to_array(line, E'\\t') l),
           present as ({OBJECTS})
           select coalesce(e.name, p.name) || case when p.name is null then ': missing'
                    when e.name is null then ': not of a migration' else ': changed' end
             from expected e full join present p on p.name = e.name
            where (e.name is null or p.name is null or e.state <> p.state)
               or current_setting('server_version_num')::integer / 10000 = {_MAJOR}
                  and e.definition is distinct from p.definition""",
    ),
)


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
    where within(e.id) and e.verified and e.kind = 'vehicle_acknowledgement'"""
"""Verified acknowledgements, with the key that must have signed each."""


_ARROWS = ", ".join(
    f"('{table}', '{source}', '{event}', '{target}')"
    for table, arrows in (
        ("payment_transitions", payment_states.payment_transitions()),
        ("payment_transitions", [(s, r, s) for s in payment_states.PaymentState
                          for r in payment_states.Remark]),
        ("vehicle_transitions", vehicle_states.transitions()),
        ("order_transitions", order_states.transitions()),
        ("subscription_transitions", subscription_states.transitions()),
        ("refusal_codes", [(code, "", found) for code, found in CLASS_OF.items()]),
    )
    for source, event, target in arrows
)  # fmt: skip
DIFFER: Final = f"""with drawn (of_table, from_state, event, to_state) as (values {_ARROWS}),
    kept as (
      select 'payment_transitions' as of_table, from_state, event, to_state from payment_transitions
      union all select 'vehicle_transitions', from_state, event, to_state from vehicle_transitions
      union all select 'order_transitions', from_state, event, to_state from order_transitions
      union all
      select 'subscription_transitions', from_state, event, to_state from subscription_transitions
      union all select 'refusal_codes', code, '', class from refusal_codes)
    select concat_ws(', ', a.of_table, a.from_state, a.event, a.to_state) from (
      (table drawn except table kept) union all (table kept except table drawn)) a"""


RAN: Final = "select name, checksum from migrations"


async def differences(database: Database) -> list[str]:
    """Return the migrations that are missing, additional or different in this database, by name."""
    try:
        ran = {row["name"]: row["checksum"] for row in await database.fetch(RAN)}
    except asyncpg.UndefinedTableError:
        ran = {}
    known = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files().items()}
    return sorted(name for name in known.keys() | ran if known.get(name) != ran.get(name))
