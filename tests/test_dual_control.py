"""Dual control: a person is an account, whatever that account acts with (decision 107).

Each test decides about a key for operations, the smallest thing that two people decide;
the tables behind the other decisions are judged by the same function.
"""

import asyncio
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import pytest

from caas import dual_control
from caas.api.authentication import Authentication, ConfiguredKey
from caas.billing_database.accounts import Accounts, Actor
from caas.billing_database.api_keys import ApiKeys
from caas.billing_database.connection import Connection, Database
from caas.billing_database.self_check import self_check
from caas.dual_control import (
    AlreadyApprovedError,
    AlreadyRejectedError,
    ApprovalNeedsAccountError,
    ApproverNotValidError,
    SamePersonError,
)
from caas.rules.scopes import Scope
from tests.people import COMMAND_LINE, employed, key_of


@dataclass(frozen=True, slots=True)
class Operation:
    """Two people, and a key that the first one made and nobody has activated."""

    database: Database
    ana: Actor
    bea: Actor
    waiting: UUID

    async def approves(self, by: Actor, key_id: UUID | None = None) -> None:
        """Let somebody activate the key that waits."""

        async def together(connection: Connection) -> None:
            await dual_control.approve(
                ApiKeys(self.database), key_id or self.waiting, by=by, within=connection
            )

        await self.database.in_transaction(together)

    async def rejects(self, by: Actor) -> None:
        """Let somebody reject it."""

        async def together(connection: Connection) -> None:
            await dual_control.reject(
                ApiKeys(self.database), self.waiting, by=by, within=connection
            )

        await self.database.in_transaction(together)


@pytest.fixture
async def investigation(database: Database) -> Operation:
    """A key for operations that Ana made waits for a second person."""
    ana, bea = [await employed(database, login) for login in ("ana", "bea")]
    waiting = (await key_of(database, ana, "nightly", Scope.OPERATIONS)).actor.key
    assert waiting is not None
    return Operation(database, ana, bea, waiting)


async def active_key(investigation: Operation, maker: Actor, activated_by: Actor) -> Actor:
    """Return somebody acting with a key of theirs that works."""
    made = await key_of(
        investigation.database, maker, "nightly", Scope.OPERATIONS, activated_by=activated_by
    )
    return made.actor


async def test_one_person_with_two_keys_and_a_session_is_one_person(
    investigation: Operation,
) -> None:
    for again in (
        investigation.ana,
        await active_key(investigation, investigation.ana, investigation.bea),
    ):
        with pytest.raises(SamePersonError):
            await investigation.approves(again)


async def test_another_session_and_another_account_s_key_are_a_second_person(
    investigation: Operation,
) -> None:
    second = await key_of(investigation.database, investigation.ana, "daily", Scope.ANY)

    await investigation.approves(investigation.bea)
    await investigation.approves(
        await active_key(investigation, investigation.bea, investigation.ana), second.actor.key
    )

    rows = await investigation.database.fetch(
        "select activated_account from api_keys where account = $1", investigation.ana.account
    )
    assert {row["activated_account"] for row in rows} == {investigation.bea.account}


async def test_settings_and_the_command_line_approve_nothing(investigation: Operation) -> None:
    for nobody in (COMMAND_LINE, Actor("operators", key=investigation.waiting)):
        with pytest.raises(ApprovalNeedsAccountError, match="console"):
            await investigation.approves(nobody)


async def test_a_renamed_person_is_the_same_person(investigation: Operation) -> None:
    await investigation.database.fetch("update accounts set login = 'ana.ruiz' where login = 'ana'")
    await investigation.database.fetch("update accounts set login = 'ana' where login = 'bea'")

    with pytest.raises(SamePersonError):
        await investigation.approves(Actor("ana.ruiz", investigation.ana.account))
    await investigation.approves(Actor("ana", investigation.bea.account))


async def test_a_disabled_account_approves_with_nothing_it_has(investigation: Operation) -> None:
    beas = await active_key(investigation, investigation.bea, investigation.ana)
    await Accounts(investigation.database).disable("bea")

    for closed in (investigation.bea, beas):
        with pytest.raises(ApproverNotValidError):
            await investigation.approves(closed)
    with pytest.raises(asyncpg.CheckViolationError, match="active account of operations"):
        await investigation.database.fetch(
            "update api_keys set activated_at = db_now(), activated_account = $2 where id = $1",
            investigation.waiting, investigation.bea.account,
        )  # fmt: skip


async def test_a_key_that_was_revoked_in_between_approves_nothing(investigation: Operation) -> None:
    """Authentication remembers a key for two seconds; approving asks for it again."""
    beas = await active_key(investigation, investigation.bea, investigation.ana)
    async with investigation.database.transaction() as connection:
        assert beas.key is not None
        await ApiKeys(investigation.database).revoke_one(beas.key, within=connection)

    with pytest.raises(ApproverNotValidError):
        await investigation.approves(beas)
    with pytest.raises(ApproverNotValidError):
        await investigation.approves(
            (
                await key_of(
                    investigation.database, investigation.bea, "not-active", Scope.OPERATIONS
                )
            ).actor
        )


async def test_a_key_of_somebody_else_does_not_make_an_approver(investigation: Operation) -> None:
    anas = await active_key(investigation, investigation.ana, investigation.bea)

    with pytest.raises(ApproverNotValidError):
        await investigation.approves(Actor("bea", investigation.bea.account, anas.key))


async def test_two_who_approve_at_once_decide_once(investigation: Operation) -> None:
    eva = await employed(investigation.database, "eva")

    answers = await asyncio.gather(
        investigation.approves(investigation.bea),
        investigation.approves(eva),
        return_exceptions=True,
    )

    assert answers.count(None) == 1
    assert [type(answer) for answer in answers if answer] == [AlreadyApprovedError]


async def test_whoever_approves_later_reads_who_approved_and_when(
    investigation: Operation,
) -> None:
    await investigation.approves(investigation.bea)

    with pytest.raises(AlreadyApprovedError, match=r"already approved by bea at 20\d\d-"):
        await investigation.approves(investigation.bea)


async def test_what_was_rejected_is_not_approved_any_more(investigation: Operation) -> None:
    await investigation.rejects(COMMAND_LINE)

    with pytest.raises(AlreadyRejectedError):
        await investigation.approves(investigation.bea)
    with pytest.raises(AlreadyRejectedError):
        await investigation.rejects(investigation.ana)


async def test_a_key_for_operations_works_once_a_second_person_activated_it(
    database: Database,
) -> None:
    ana, bea = [await employed(database, login) for login in ("ana", "bea")]
    table, hashes = ApiKeys(database), {}
    for scope in (Scope.OPERATIONS, Scope.ANY, Scope.BILLING):
        made = await key_of(database, ana, str(scope), scope)
        hashes[scope] = (await _hash_of(database, made.actor.key), made.actor.key)

    before = {scope for scope, (digest, _) in hashes.items() if await table.find(digest)}
    investigation = Operation(database, ana, bea, _id(hashes[Scope.ANY][1]))
    await investigation.approves(bea)
    after = {scope for scope, (digest, _) in hashes.items() if await table.find(digest)}
    await Accounts(database).disable("ana")
    last = {scope for scope, (digest, _) in hashes.items() if await table.find(digest)}

    assert before == {Scope.BILLING}
    assert after == {Scope.BILLING, Scope.ANY}
    assert last == {Scope.BILLING}, "keys for operations end with their account"


async def test_the_settings_take_over_no_key_of_an_account(database: Database) -> None:
    ana = await employed(database, "ana")
    made = await key_of(database, ana, "shop", Scope.BILLING)

    wanted = ConfiguredKey("shop", made.key, frozenset({Scope.ANY}))
    await Authentication(ApiKeys(database)).bootstrap([wanted])

    found = await ApiKeys(database).find(await _hash_of(database, made.actor.key))
    assert found is not None
    assert (found.scopes, found.account) == (frozenset({Scope.BILLING}), ana.account)


@pytest.mark.parametrize(
    "change",
    [
        "account = null",
        "scopes = array['any']",
        "activated_account = account, activated_at = db_now()",
        "activated_at = db_now()",
    ],
)
async def test_the_database_refuses_what_would_go_around_the_second_person(
    investigation: Operation, change: str
) -> None:
    statement = f"update api_keys set {change} where id = '{investigation.waiting}'"

    with pytest.raises(asyncpg.CheckViolationError, match=r"two people decide|belongs to"):
        await investigation.database.fetch(statement)


async def test_the_invariant_finds_what_was_done_while_the_guard_was_away(
    investigation: Operation,
) -> None:
    async with investigation.database.transaction() as connection:
        await connection.execute("set local role none")
        await connection.execute("alter table api_keys disable trigger two_people_decide")
        await connection.execute(
            "update api_keys set activated_account = account, activated_at = db_now()"
        )
        await connection.execute("alter table api_keys enable always trigger two_people_decide")

    found = {one.invariant.name: one.broken for one in await self_check(investigation.database)}

    async with investigation.database.transaction() as connection:
        await connection.execute("set local role none")
        await connection.execute("alter table api_keys disable trigger never_removed")
        await connection.execute("delete from api_keys")
        await connection.execute("alter table api_keys enable always trigger never_removed")
        await connection.execute("select caas.sum_anew('api_keys')")
    assert found["operations_keys_have_two_people"] == 1


async def _hash_of(database: Database, key_id: UUID | None) -> bytes:
    row = await database.fetchrow("select key_hash from api_keys where id = $1", key_id)
    assert row is not None
    return bytes(row["key_hash"])


def _id(key_id: UUID | None) -> UUID:
    assert key_id is not None
    return key_id
