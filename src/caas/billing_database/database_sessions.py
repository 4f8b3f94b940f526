"""What a session at the Billing Database must be like, whichever PostgreSQL it is.

The settings that statements here rely on are set by each session itself, and not by the server's
configuration, because the server is somebody else's. They are set by statements, not in the
handshake, which a pooler in front of the server does not let pass.

A pooler may lend a server's session to a client for one transaction only. Prepared statements, the
role, advisory locks and temporary tables would then be somebody else's, so this is refused by name;
one that lends it for as long as a client is connected is fine.

Rule a change must keep: what is set here never weakens what an administrator has strengthened.
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
    "jit": "off",  # a plan is made once and run in milliseconds; compiling it takes longer
}
PROCESS: Final = "caas.process"
"""The setting that names the process in each of its sessions."""
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
"""Roles of PostgreSQL with which a login passes by every grant, or by the database altogether."""
BACKEND: Final = "select pg_backend_pid()"

NOT_OURS: Final = (asyncpg.SyntaxOrAccessError, asyncpg.ProtocolViolationError)
"""What a statement meets that was prepared in another session."""

Session: TypeAlias = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy


class SharedSessionsError(StartupError):
    """CAAS_DATABASE_URL leads to a pooler in transaction mode (PgBouncer: pool_mode = transaction).

    Sessions here must be one client's own: set pool_mode = session, or name the server itself.
    """

    code = "shared_sessions"


async def check_server(dsn: str) -> tuple[dict[str, str], str | None]:
    """Return the settings of every session there, and what is wrong with the login, if anything.

    Raises:
        StartupError: the server is too old, or its sessions are not a client's own.
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
    """Make a fresh session what sessions here must be."""
    await session.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=_to_json, decoder=msgspec.json.decode
    )
    await session.fetch(DURABLE)
    await session.fetch(SET, list(settings), list(settings.values()))
    if PROCESS in settings:
        await session.fetch(BE_PRESENT, PRESENCE, int(settings[PROCESS]))


def new_process_id() -> int:
    """Return the number of a process that begins; nobody else has it."""
    return 1 + secrets.randbelow(PROCESS_ID_MAX)


def process_name() -> str:
    """Return by which name operations know this process: host and process id."""
    return f"{socket.gethostname()}:{os.getpid()}"[:200]


async def register(pool: asyncpg.Pool, process_id: int) -> None:
    """Write down a process that has just opened its first session.

    A database that is not migrated yet holds nothing that could be taken over.
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
    """Refuse a pooler that lends the session of a server for one transaction.

    The server's process is another than the handshake named only behind a pooler; whether it stays
    ours is seen while a second client, which would be lent it next, is in a transaction.

    Raises:
        SharedSessionsError: it lends them so.
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
