"""The audit log: what it tells, that it holds no secret and no name, and who may read it."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from caas.billing_database.accounts import Role, StaffMember
from caas.billing_database.audit_events import AuditEvents, AuditType
from caas.billing_database.connection import Database
from caas.console.staff import StaffAccounts
from tests.console.journeys import ANA
from tests.console.test_safety import Client, client_of
from tests.console.town import PASSWORD, STOCK, Town

OPERATIONS = "operaciones@caas.example"


@pytest.fixture
async def client(town: Town) -> AsyncIterator[Client]:
    """A browser's HTTP, without the browser."""
    opened = client_of(town)
    yield opened
    await opened.session.close()


async def reported(town: Town, type_: AuditType) -> list[tuple[str, bool, bool]]:
    """Return who acted in events of a type, whether an account did, and whether on a subject."""
    events = await AuditEvents(town.database).after(type_=type_, rows_max=50)
    return [(one.actor, one.account is not None, one.subject is not None) for one in events]


async def test_access_leaves_its_events(town: Town, client: Client) -> None:
    investigation = StaffAccounts(town.database, public_url=town.url)
    await investigation.add(StaffMember("new@caas.example", Role.OPERATIONS, None))
    await investigation.disable("new@caas.example")
    await town.reserved(STOCK[0][0], email=ANA)
    await client.opens_account(ANA)
    staff = client_of(town)
    await staff.sign_in(OPERATIONS)
    await staff.session.close()

    assert ("settings", False, True) in await reported(town, AuditType.STAFF_ADDED)
    assert ("command line", False, True) in await reported(town, AuditType.STAFF_ADDED)
    assert await reported(town, AuditType.STAFF_DISABLED) == [("command line", False, True)]
    assert await reported(town, AuditType.LINK_MADE) == [
        ("command line", False, True), ("platform", False, True),
    ]  # fmt: skip
    assert await reported(town, AuditType.LINK_USED) == [("account", True, True)]
    assert await reported(town, AuditType.SIGN_IN_OK) == [("account", True, True)]


async def test_a_refused_sign_in_is_told_and_names_nobody(town: Town, client: Client) -> None:
    await client.sign_in(OPERATIONS, "wrong words")

    assert await reported(town, AuditType.SIGN_IN_REFUSED) == [("nobody", False, False)]
    rows = await town.database.fetch("select e::text as told from audit_events e")
    everything = " ".join(row["told"] for row in rows)
    assert "127.0.0.0/24" in everything
    for secret in (OPERATIONS, "operaciones", "wrong words", PASSWORD, "127.0.0.1"):
        assert secret not in everything


async def test_the_page_names_staff_and_keys_and_no_customer(town: Town, client: Client) -> None:
    """It showed ids where the page of staff has logins."""
    await town.reserved(STOCK[0][0], email=ANA)
    await client.opens_account(ANA)
    staff = client_of(town)
    await staff.sign_in(OPERATIONS)
    page = await staff.get("/operations/keys")
    made = {"name": "lot-42", "scope-billing": "yes", "form_token": page.field("form_token"),
            "key": page.field("key")}  # fmt: skip
    await staff.post("/operations/keys", made)
    told_of = (await staff.get("/operations/audit")).text
    await staff.session.close()

    (row,) = await town.database.fetch("select id from accounts where login = $1", OPERATIONS)
    assert f"<strong>{OPERATIONS}</strong>" in told_of
    assert str(row["id"]) not in told_of
    assert "Clave lot-42" in told_of
    assert "Cliente" in told_of
    assert ANA not in told_of


async def test_an_audit_event_is_never_changed(town: Town, database: Database) -> None:
    for statement in ("update audit_events set at = now()", "delete from audit_events"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await database.fetch(statement)
        with pytest.raises(asyncpg.PostgresError, match=r"append|change"):
            await town.as_owner(statement)
