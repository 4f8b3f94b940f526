"""The platform's login at the embedded server, which owns nothing.

The schema's owner could disable triggers, and `reset role` gives a login all its privileges. The
platform therefore signs in with a role whose only membership is the application's role.

Rule a change must keep: the login gets nothing but that membership.
"""

from typing import Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from caas.billing_database.connection import ACQUIRE_TIMEOUT_SECONDS, UNREACHABLE, cannot_open
from caas.billing_database.database_sessions import APPLICATION_ROLE

SERVICE_LOGIN: Final = "caas_service"
ADVISORY_LOCK: Final = 0x63616174
MAKE: Final = f"""
do $$
begin
  perform pg_advisory_xact_lock({ADVISORY_LOCK});
  if not exists (select from pg_roles where rolname = '{APPLICATION_ROLE}') then
    create role {APPLICATION_ROLE} nologin;
  end if;
  if not exists (select from pg_roles where rolname = '{SERVICE_LOGIN}') then
    create role {SERVICE_LOGIN} login;
  end if;
  grant {APPLICATION_ROLE} to {SERVICE_LOGIN};
end $$
"""


async def made(owner_dsn: str) -> str:
    """Create the login through the server's local socket and return its DSN.

    Raises:
        StartupError: the server does not respond.
    """
    try:
        owner = await asyncpg.connect(owner_dsn, timeout=ACQUIRE_TIMEOUT_SECONDS)
        try:
            await owner.execute(MAKE)
        finally:
            await owner.close()
    except (TimeoutError, asyncpg.PostgresError, *UNREACHABLE) as error:
        raise cannot_open(owner_dsn, error) from error
    parts = urlsplit(owner_dsn)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{SERVICE_LOGIN}@{host}"))
