"""Required properties of database sessions, on any PostgreSQL.

Each session sets the parameters that statements rely on, because the server's configuration may be
managed by others. They are set by statements, because poolers reject them in the startup packet.

A pooler in transaction mode shares a server session between clients. Prepared statements, the role,
advisory locks and temporary tables would then leak, so it is rejected with an error; session mode
works.

Rule a change must keep: parameters set here never weaken what an administrator has tightened.
"""

import asyncio
import os
import secrets
import socket
from typing import Any, Final, TypeAlias

import asyncpg
import msgspec

from caas.errors import StartupError

CONNECT_SECONDS_MAX: Final = 10
SHARED_LOOK_SECONDS_MAX: Final = 5.0
SERVER_VERSION_MIN: Final = 15
APPLICATION_ROLE: Final = "caas_app"
SETTINGS: Final = {
    "search_path": "caas,public",
    "application_name": "caas",
    "timezone": "UTC",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "default_transaction_isolation": "read committed",
    "idle_in_transaction_session_timeout": "60s",
    "plan_cache_mode": "force_generic_plan",  # every session would plan each statement five times
    "jit": "off",  # plans are cached and run in milliseconds; JIT compilation takes longer
}
PROCESS: Final = "caas.process"
"""The parameter that identifies the process in its sessions."""
PRESENCE: Final = 1667326323
BE_PRESENT: Final = "select pg_advisory_lock_shared($1::integer, $2::integer)"
SET: Final = (
    "select set_config(name, value, false) from unnest($1::text[], $2::text[]) s(name, value)"
)
DURABLE: Final = """
select set_config('synchronous_commit', 'on', false)
 where current_setting('synchronous_commit') = 'off'
"""
WHO: Final = """
select (select pg_has_role(current_user, oid, 'member')
          from pg_roles where rolname = $1) as member,
       (select rolsuper from pg_roles where rolname = current_user) as superuser,
       (select rolcreaterole from pg_roles where rolname = current_user) as makes_roles,
       (select min(rolname) from pg_roles
         where pg_has_role(current_user, oid, 'member') and rolname <> current_user
           and (rolsuper or rolcreaterole or rolname = any ($2))) as may_become,
       exists (select from pg_namespace where nspname = 'caas'
                  and pg_has_role(current_user, nspowner, 'member'))
         or exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
                     where n.nspname = 'caas' and pg_has_role(current_user, c.relowner, 'member'))
         as owner, current_user as login
"""
REGISTER: Final = """
insert into processes (id, name, started_at) values ($1, $2, db_now()) on conflict (id) do nothing
"""
PROCESS_ID_MAX: Final = 2**31 - 1
STRONG_ROLES: Final = ("pg_write_all_data", "pg_write_server_files", "pg_execute_server_program")
"""PostgreSQL roles that bypass grants."""
BACKEND: Final = "select pg_backend_pid()"

NOT_OURS: Final = (asyncpg.SyntaxOrAccessError, asyncpg.ProtocolViolationError)
"""Errors of a statement that was prepared in another session."""

Session: TypeAlias = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy


class SharedSessionsError(StartupError):
    """CAAS_DATABASE_URL points to a connection pooler in transaction mode.

    Set pool_mode = session (PgBouncer), or connect to the server directly.
    """

    code = "shared_sessions"


async def check_server(dsn: str) -> tuple[dict[str, str], str | None]:
    """Return the session parameters, and what is wrong with the login, if anything.

    Raises:
        StartupError: the server is too old, or a pooler shares its sessions.
    """
    session = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS_MAX, statement_cache_size=0)
    try:
        await _refuse_shared(session, dsn)
        version = session.get_server_version().major
        if version < SERVER_VERSION_MIN:
            raise StartupError(
                f"The Billing Database is PostgreSQL {version}; "
                f"version {SERVER_VERSION_MIN} or newer is needed."
            )
        who = await session.fetchrow(WHO, APPLICATION_ROLE, STRONG_ROLES)
    finally:
        session.terminate()
    assert who is not None, "a query without a table returns one row"
    role = {"role": APPLICATION_ROLE} if who["member"] else {}
    return SETTINGS | role, _too_strong(who)


async def prepared(session: Session, settings: dict[str, str]) -> None:
    """Configure a new session."""
    await session.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=_to_json, decoder=msgspec.json.decode
    )
    await session.fetch(DURABLE)
    await session.fetch(SET, list(settings), list(settings.values()))
    if PROCESS in settings:
        await session.fetch(BE_PRESENT, PRESENCE, int(settings[PROCESS]))


def new_process_id() -> int:
    """Return a new unique process id."""
    return 1 + secrets.randbelow(PROCESS_ID_MAX)


def process_name() -> str:
    """Return the process name shown to operators: host and process id."""
    return f"{socket.gethostname()}:{os.getpid()}"[:200]


async def register(pool: asyncpg.Pool, process_id: int) -> None:
    """Register a process with its first session.

    Skipped if the database is not migrated yet.
    """
    try:
        await pool.execute(REGISTER, process_id, process_name())
    except asyncpg.UndefinedTableError:
        return


def _too_strong(who: Any) -> str | None:  # a row
    if who["superuser"]:
        return f"the login '{who['login']}' is a superuser"
    if who["owner"]:
        return f"the login '{who['login']}' owns the schema, or may become its owner"
    if who["may_become"]:
        return f"the login '{who['login']}' may become '{who['may_become']}'"
    if who["makes_roles"]:
        return f"the login '{who['login']}' may make roles"
    return None


async def _refuse_shared(session: asyncpg.Connection, dsn: str) -> None:
    """Reject a pooler that shares server sessions between transactions.

    A backend process id that differs from the handshake reveals a pooler; a second client in a
    transaction then reveals whether the session stays ours.

    Raises:
        SharedSessionsError: the session is shared.
    """
    try:
        behind = await session.fetchval(BACKEND)
    except NOT_OURS as error:
        raise SharedSessionsError from error
    if behind == session.get_server_pid():
        return
    other = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS_MAX, statement_cache_size=0)
    try:
        async with asyncio.timeout(SHARED_LOOK_SECONDS_MAX):
            await other.execute("begin")
            still = await session.fetchval(BACKEND)
    except (TimeoutError, asyncpg.PostgresError) as error:
        raise SharedSessionsError from error
    finally:
        other.terminate()
    if still != behind:
        raise SharedSessionsError


def _to_json(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
