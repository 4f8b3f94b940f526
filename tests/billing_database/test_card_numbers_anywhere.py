"""No card number stands anywhere: every column of text there is, read off the catalogue."""

import asyncpg

from caas.billing_database import self_check
from caas.billing_database.connection import Database
from caas.billing_database.invariants import NO_CARD_NUMBER

A_CARD = "4111\n1111\n1111\n1111"
KINDS = ("text", "varchar(80)", "json", "jsonb", "text[]")


async def test_a_column_that_nobody_has_mentioned_is_read(database: Database) -> None:
    """A list of columns had to be remembered with each migration, and was not."""
    owner = await asyncpg.connect(database.dsn)
    try:
        for number, kind in enumerate(KINDS):
            held = {"json": f'"{A_CARD}"', "jsonb": f'"{A_CARD}"', "text[]": f'{{"{A_CARD}"}}'}
            await owner.execute(
                f"create table caas.later_{number} (id integer primary key, kept {kind});"
                f"grant select on caas.later_{number} to caas_app"
            )
            text = held.get(kind, A_CARD).replace("\n", "\\n" if "json" in kind else "\n")
            await owner.execute(f"insert into caas.later_{number} values (7, '{text}'), (8, null)")
        findings = await self_check.self_check(database)
        for number in range(len(KINDS)):
            await owner.execute(f"drop table caas.later_{number}")
    finally:
        await owner.close()

    (found,) = [one for one in findings if one.invariant is NO_CARD_NUMBER]
    assert found.examples == tuple(f"later_{number}: 7" for number in range(len(KINDS)))


async def test_two_columns_beside_each_other_are_not_read_as_one_number(
    database: Database,
) -> None:
    owner = await asyncpg.connect(database.dsn)
    try:
        await owner.execute(
            "create table caas.later (a text, b text); grant select on caas.later to caas_app;"
            "insert into caas.later values ('41111111', '11111111')"
        )
        findings = await self_check.self_check(database)
        await owner.execute("drop table caas.later")
    finally:
        await owner.close()

    (found,) = [one for one in findings if one.invariant is NO_CARD_NUMBER]
    assert not found.broken


async def test_a_table_that_may_not_be_read_is_a_finding_and_the_others_are_read(
    database: Database,
) -> None:
    owner = await asyncpg.connect(database.dsn)
    try:
        await owner.execute(
            "create table caas.a_closed_one (kept text);"
            "revoke all on caas.a_closed_one from caas_app;"
            "create table caas.later (id integer primary key, kept text);"
            "grant select on caas.later to caas_app;"
            "insert into caas.later values (7, '4111111111111111')"
        )
        findings = await self_check.self_check(database)
        await owner.execute("drop table caas.a_closed_one; drop table caas.later")
    finally:
        await owner.close()

    (found,) = [one for one in findings if one.invariant is NO_CARD_NUMBER]
    assert found.examples == ("a_closed_one: cannot be read", "later: 7")
