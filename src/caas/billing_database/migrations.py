"""Applies schema migrations, and defines the tables that the application's role may not change.

Numbered .sql files run once each, in their own transaction under an advisory lock, with their
checksum stored. A file that changed after it ran, or a database newer than the code, is an error.
Afterwards every trigger is set to fire always, even for replication sessions.

Rules a change must keep: applied files are never changed; legal transitions are written only during
a migration; names in the table lists are separated by a comma and a space, because the invariant
`only_the_platform_writes` compares them with the actual grants.
"""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from typing import Final

import asyncpg

from caas.billing_database.connection import (
    ACQUIRE_TIMEOUT_SECONDS,
    UNREACHABLE,
    Connection,
    cannot_open,
)
from caas.billing_database.database_sessions import APPLICATION_ROLE
from caas.billing_database.tax_rates import write_markets
from caas.errors import StartupError
from caas.rules.payment_states import PaymentState, Remark, payment_transitions
from caas.rules.postings import ACCOUNTS

# Tables that the application writes only through functions and triggers.
BEHIND_DOORS: Final = (
    "payments, payment_events, resolution_claims, ledger_entries, ledger_accounts, "
    "payment_transitions, refusal_codes, provider_accounts, clock, migrations, "
    "vehicle_transitions, vehicle_events, order_transitions, order_events, "
    "subscription_transitions, subscription_events, payment_taxes, entitlements, "
    "entitlement_terms, entitlement_changes, "
    "table_checksums, removals"
)
APPEND_ONLY: Final = (
    "delivery_evidence, webhook_inbox, ota_commands, settlement_lines, "
    "identified_lines, discrepancy_events, discrepancy_entries, discrepancy_evidence, "
    "gateway_claim_entries, "
    "gateway_calls, gateway_customers, audit_events, history_heads, history_leaves"
)

# Completed rows are deleted from these tables only.
EMPTIED: Final = (
    "jobs, idempotency_keys, sessions, refused_sign_ins, sign_in_attempts, documents_due, "
    "invariant_checks"
)


ADVISORY_LOCK = 0x63616173
LOCK_TIMEOUT = "10s"
MIGRATING = "set local caas.migration = 'runs'"
# A replication session skips every trigger that is not set to fire always. Only a superuser may
# change the internal triggers of foreign keys, or start a replication session. The checksum
# triggers are left out: the checksums then lack that session's changes, which detects them.
STAND_GUARD = r"""
do $$
declare guard record;
begin
  for guard in
    select t.tgrelid::regclass as of_table, quote_ident(t.tgname) as name
      from pg_trigger t join pg_class c on c.oid = t.tgrelid
      join pg_namespace n on n.oid = c.relnamespace
     where n.nspname = 'caas' and t.tgenabled <> 'A'
       and t.tgname not like 'checksum\_of\_%'
       and (not t.tgisinternal or (select rolsuper from pg_roles where rolname = current_user))
     order by 1, 2
  loop
    execute format('alter table %s enable always trigger %s', guard.of_table, guard.name);
  end loop;
end $$
"""


def files() -> dict[str, str]:
    """Return all migrations by name, in order."""
    folder = resources.files("caas.billing_database") / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return {name: (folder / name).read_text("utf-8") for name in names}


async def check(dsn: str) -> None:
    """Check that all of this code's migrations, and no newer ones, were applied.

    Raises:
        StartupError: the database is unreachable, or its schema is not this code's.
    """
    async with _connected(dsn) as connection:
        exists = await connection.fetchval("select to_regclass('caas.migrations')")
        rows = await connection.fetch("table caas.migrations") if exists else []
    done = {row["name"]: row["checksum"] for row in rows}
    known = files()
    _refuse_strangers(known, done)
    missing = [name for name in known if name not in done]
    if missing:
        raise StartupError(
            f"The Billing Database lacks {len(missing)} migrations, the first is {missing[0]}. "
            "Run './caas migrate' first."
        )


async def migrate(dsn: str) -> list[str]:
    """Apply pending migrations and return their names.

    Raises:
        StartupError: the database is unreachable, or its schema is not ours.
    """
    async with _connected(dsn) as connection:
        await connection.execute(f"select pg_advisory_lock({ADVISORY_LOCK})")
        return await _run_missing(connection)


@asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    try:
        connection = await asyncpg.connect(dsn, timeout=ACQUIRE_TIMEOUT_SECONDS)
        try:
            yield connection
        finally:
            await connection.close()
    except (TimeoutError, ValueError, asyncpg.PostgresError, *UNREACHABLE) as error:
        raise cannot_open(dsn, error) from error


async def _run_missing(connection: Connection) -> list[str]:
    await connection.execute(
        "create schema if not exists caas; set search_path = caas, public;"
        "create table if not exists migrations (name text primary key, checksum text not null,"
        " ran_at timestamptz not null default clock_timestamp())"
    )
    known = files()
    done = {row["name"]: row["checksum"] for row in await connection.fetch("table migrations")}
    _refuse_strangers(known, done)
    missing = [name for name in known if name not in done]
    for name in missing:
        async with connection.transaction():
            await connection.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}'; {MIGRATING}")
            await connection.execute(known[name])
            await connection.execute(
                "insert into migrations (name, checksum) values ($1, $2)", name, _sum(known[name])
            )
    if missing:
        await _write_legal_arrows(connection)
        await _grant(connection)
    await _write_accounts(connection)
    async with connection.transaction():
        await write_markets(connection)
    await connection.execute(STAND_GUARD)
    return missing


def _refuse_strangers(known: dict[str, str], done: dict[str, str]) -> None:
    strangers = sorted(set(done) - set(known))
    if strangers:
        raise StartupError(
            f"Another version of this program made the Billing Database: it has {strangers[-1]}, "
            "which this version does not know. Start that version, or use an empty database."
        )
    changed = [name for name, checksum in done.items() if _sum(known[name]) != checksum]
    if changed:
        raise StartupError(
            f"Migration {changed[0]} was changed after it was applied. "
            "Restore the file and add a new migration instead."
        )


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def _write_legal_arrows(connection: Connection) -> None:
    """Copy Diagram 9 from `rules.payment_states` to the database."""
    async with connection.transaction():
        await connection.execute(f"{MIGRATING}; delete from payment_transitions")
        await connection.executemany(
            "insert into payment_transitions (from_state, event, to_state) values ($1, $2, $3)",
            [*payment_transitions(), *((s, remark, s) for s in PaymentState for remark in Remark)],
        )


async def _write_accounts(connection: Connection) -> None:
    """Copy the chart of accounts from `rules.postings` to the database."""
    accounts = sorted(ACCOUNTS)
    async with connection.transaction():
        await connection.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}'; {MIGRATING}")
        await connection.execute(
            "delete from ledger_accounts where name <> all ($1::text[])", accounts
        )
        await connection.execute(
            "insert into ledger_accounts select unnest($1::text[]) on conflict do nothing", accounts
        )


async def _grant(connection: Connection) -> None:
    """Grant the application's role its privileges: read, append and execute."""
    if not await connection.fetchval("select 1 from pg_roles where rolname = $1", APPLICATION_ROLE):
        try:
            await connection.execute(f"create role {APPLICATION_ROLE} nologin")
            await connection.execute(f"grant {APPLICATION_ROLE} to current_user")
        except asyncpg.InsufficientPrivilegeError:
            return
    for statement in GRANTS:
        await connection.execute(statement.format(role=APPLICATION_ROLE))


GRANTS = (
    "grant usage on schema caas to {role}",
    "grant select, insert, update on all tables in schema caas to {role}",
    f"grant delete on {EMPTIED} to {{role}}",
    f"revoke insert, update, delete, truncate on {BEHIND_DOORS} from {{role}}",
    f"revoke update, delete, truncate on {APPEND_ONLY} from {{role}}",
    "grant usage on all sequences in schema caas to {role}",
    "grant execute on all functions in schema caas to {role}",
)
