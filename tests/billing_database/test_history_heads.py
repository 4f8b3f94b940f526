"""Heads of the history: what is done behind the guards, chain and all, differs from them."""

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from contextvars import Context
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from caas.billing_database import connection, history_checks, history_heads, migrations
from caas.billing_database.connection import Connection, Database
from caas.billing_database.event_chain import ChainLine, Export, ExportWriter, exported
from caas.billing_database.history_checks import MISSING, REWRITTEN, Difference
from caas.billing_database.history_heads import HISTORY, OF_THE_HEADS
from caas.external_systems.vehicle_command_keys import VehicleCommandKeys
from caas.history_signing import HeadTerms
from caas.rules.signed_heads import SignedHead
from tests.databases import fresh_database
from tests.installation import Installation, standing
from tests.locks import PATIENCE_SECONDS, WAITING

TERMS = HeadTerms(VehicleCommandKeys([b"k" * 32]), ())
APPEND_ONLY = """
select c.relname from pg_trigger t join pg_class c on c.oid = t.tgrelid
 where t.tgname = 'append_only' and c.relnamespace = 'caas'::regnamespace
"""
COLUMNS = """
select attname from pg_attribute where attrelid = 'caas.payment_events'::regclass and attnum > 0
   and not attisdropped order by attnum
"""
# What the owner of the schema does: the guards sleep, an event is another, and the chain is whole.
REWRITE = """
update caas.payment_events set facts = facts || '{"amount": 1}' where payment_id = $1 and seq = 2
"""
RECHAIN = """
update caas.payment_events e set hash = caas.event_digest(
  coalesce((select b.hash from caas.payment_events b
             where b.payment_id = e.payment_id and b.seq = e.seq - 1), ''::bytea),
  e.payment_id, e.seq, e.event, e.to_state, e.source, e.facts, e.at)
 where payment_id = $1 and seq = $2
"""
WRITTEN_INTO_THE_PAST = """
insert into caas.audit_events (id, type, actor, at)
values (gen_random_uuid(), 'link made', 'platform', caas.db_now() - interval '30 days')
"""


@pytest.fixture
async def installation(database: Database) -> AsyncIterator[Installation]:
    """An installation with a car and a service."""
    async with standing(database) as built:
        await built.car()
        await built.offer_heated_seats()
        yield built


@pytest.fixture
async def owner(database_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Whoever owns the database, in a session that passes by the guards."""
    connection = await asyncpg.connect(database_dsn)
    yield connection
    await connection.close()


async def made(database: Database) -> SignedHead:
    head = await history_heads.made(database, sign=TERMS.sign)
    assert head is not None, "nobody else makes heads here"
    return head


async def lines(database: Database) -> list[ChainLine]:
    return [line async for line in exported(database)]


async def written(database: Database, path: Path, head: SignedHead | None = None) -> Export:
    writer = ExportWriter()
    content = b"".join([writer.line(line) for line in await lines(database)])
    path.write_bytes(content + writer.end(head))
    return Export.read(path)


async def behind_the_guards(owner: asyncpg.Connection, *statements: tuple[object, ...]) -> None:
    """Do what only the owner of the server can."""
    async with owner.transaction():
        await owner.execute("set local session_replication_role = replica")
        for table in ("payment_events", "ledger_entries", "audit_events", "refunds"):
            await owner.execute(f"alter table caas.{table} disable trigger user")
        for statement, *arguments in statements:
            await owner.execute(str(statement), *arguments)


async def test_every_append_only_table_is_in_the_history(owner: asyncpg.Connection) -> None:
    in_catalogue = {row[0] for row in await owner.fetch(APPEND_ONLY)}
    listed = {table.name for table in HISTORY if table.columns is None and table.only == "true"}
    events = next(table for table in HISTORY if table.name == "payment_events")

    assert listed | {"payment_events"} == in_catalogue - OF_THE_HEADS
    assert events.columns == tuple(row[0] for row in await owner.fetch(COLUMNS))


async def test_of_two_processes_that_make_a_head_one_keeps_it(
    installation: Installation, owner: asyncpg.Connection
) -> None:
    others: list[asyncio.Task[SignedHead | None]] = []

    async def another_comes(_connection: Connection, _head: SignedHead) -> None:
        making = history_heads.made(installation.database, sign=TERMS.sign)
        others.append(asyncio.create_task(making, context=Context()))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await owner.fetchval(WAITING):
                await asyncio.sleep(0.01)

    kept = await history_heads.made(installation.database, sign=TERMS.sign, also=another_comes)

    assert kept is not None
    assert [await other for other in others] == [None]
    assert [it.signed.digest for it in await history_heads.last_heads(installation.database)] == [
        kept.digest
    ]


async def test_processes_that_count_at_once_count_each_row_once(installation: Installation) -> None:
    await installation.settled()

    heads = await asyncio.gather(
        *(history_heads.made(installation.database, sign=TERMS.sign) for _ in range(4))
    )

    [kept] = [head for head in heads if head is not None]
    counted = await installation.database.fetch(
        "select of_table, sum(cardinality(keys)) as rows from history_leaves group by 1"
    )
    sizes = {name: table.rows for name, table in kept.tables.items() if table.rows}
    assert {row["of_table"]: row["rows"] for row in counted} == sizes


async def test_what_goes_on_is_no_difference(
    installation: Installation, owner: asyncpg.Connection
) -> None:
    """Payments move, refunds are finished, and a second head counts only what is new."""
    payment = await installation.settled()
    first = await made(installation.database)
    await installation.platform.payment_processing.refund_payment(
        payment.id, amount=100, reason="courtesy", key="one", requested_by="operations"
    )
    await installation.rest()
    await installation.settled()
    between = await history_checks.differences_from_head(installation.database, first)
    second = await made(installation.database)

    assert between == []
    for head in (first, second):
        assert head.is_signed
        assert await history_checks.differences_from_head(installation.database, head) == []
    assert second.digest_before == first.digest
    assert second.tables["payment_events"].rows > first.tables["payment_events"].rows > 0
    assert second.tables["refunds"].rows == 1
    leaves = await owner.fetch(
        "select head, sum(cardinality(keys)) from caas.history_leaves"
        " where of_table = 'payment_events' group by head order by head"
    )
    assert [row[0] for row in leaves] == [1, 2]


async def test_what_is_deleted_in_operation_is_no_history(owner: asyncpg.Connection) -> None:
    """Read off the functions of the schema, the statements of the code and the grants."""
    functions = await owner.fetch(
        "select prosrc from pg_proc where pronamespace = 'caas'::regnamespace"
    )
    code = [file.read_text() for file in sorted(Path(migrations.__file__).parent.glob("*.py"))]
    emptied = {
        table for text in (*(row[0] for row in functions), *code)
        for table in re.findall(r"(?i)\bdelete from (?:caas\.)?(\w+)", text)
    }  # fmt: skip
    granted = set(migrations.EMPTIED.split(", "))

    assert {"sessions", "jobs", "document_buyers"} <= emptied | granted
    assert (emptied | granted) & {*(table.name for table in HISTORY), *OF_THE_HEADS} == set()


async def test_what_is_forgotten_is_no_difference(
    installation: Installation, tmp_path: Path
) -> None:
    """A customer is erased and everything with a time limit is swept; the history stays."""
    payment = await installation.settled()
    head = await made(installation.database)
    export = await written(installation.database, tmp_path / "before", head)
    erased = await installation.platform.erasure.erase(payment.customer, end_open=True)
    await installation.database.fetch("select silent_processes()")
    await installation.rest()

    assert erased.open == []
    assert await history_checks.differences_from_head(installation.database, head) == []
    assert (
        await history_checks.differences_from_export(exported(installation.database), export) == []
    )
    assert await history_checks.differences_from_head(
        installation.database, await made(installation.database)
    ) == []  # fmt: skip


async def test_a_transaction_that_commits_late_comes_into_the_next_head(
    installation: Installation, owner: asyncpg.Connection
) -> None:
    """Its rows are older than the head, and have smaller ids than rows the head counts."""
    await installation.settled()
    late = owner.transaction()
    await late.start()
    await owner.execute(
        "insert into caas.audit_events (id, type, actor, at) values"
        " (gen_random_uuid(), 'link made', 'platform', caas.db_now())"
    )
    first = await made(installation.database)
    await late.commit()

    between = await history_checks.differences_from_head(installation.database, first)
    second = await made(installation.database)

    assert between == []
    assert second.tables["audit_events"].rows == first.tables["audit_events"].rows + 1
    assert await history_checks.differences_from_head(installation.database, second) == []


@dataclass(frozen=True, slots=True)
class Tampered:
    """What was done, and what was kept elsewhere before."""

    database: Database
    head: SignedHead
    before: Export
    rewritten: str
    left_out: str
    entry: int


@pytest.fixture
async def tampered(server_dsn: str, tmp_path: Path) -> AsyncIterator[Tampered]:
    """A database whose owner rewrote an event and its chain, a payment and an entry are gone."""
    async with fresh_database(server_dsn) as dsn, AsyncExitStack() as stack:
        database = await connection.connect(dsn)
        stack.push_async_callback(database.close)
        owner = await asyncpg.connect(dsn)
        stack.push_async_callback(owner.close)
        installation = await stack.enter_async_context(standing(database))
        await installation.car()
        await installation.offer_heated_seats()
        rewritten, left_out, lacking = [await installation.settled() for _ in range(3)]
        head = await made(database)
        before = await written(database, tmp_path / "before", head)
        entry = await owner.fetchval(
            "select min(id) from caas.ledger_entries where payment_id = $1", lacking.id
        )
        await behind_the_guards(
            owner,
            (REWRITE, rewritten.id),
            *((RECHAIN, rewritten.id, seq) for seq in range(1, 20)),
            ("delete from caas.payment_events where payment_id = $1", left_out.id),
            ("delete from caas.ledger_entries where id = $1", entry),
            (WRITTEN_INTO_THE_PAST,),
        )
        yield Tampered(database, head, before, str(rewritten.id), str(left_out.id), entry)


async def test_what_was_done_behind_the_guards_is_named(tampered: Tampered, tmp_path: Path) -> None:
    by_head = await history_checks.differences_from_head(tampered.database, tampered.head)
    by_export = await history_checks.differences_from_export(
        exported(tampered.database), tampered.before
    )
    after = await written(tampered.database, tmp_path / "after", tampered.head)

    assert list(after.problems()) == [], "the chain by itself is content"
    assert {it for it in by_head if it.table == "payment_events"} == set(by_export)
    assert {it.key.partition("/")[0] for it in by_export if it.because == REWRITTEN} == {
        tampered.rewritten
    }
    assert [payment for payment, _ in history_checks.payments_gone(by_export)] == [
        tampered.left_out
    ]
    assert Difference("ledger_entries", str(tampered.entry), MISSING) in by_head
    [added] = [it for it in by_head if it.table == "audit_events"]
    assert "no head counts it" in added.because


async def test_an_export_is_held_against_a_head_without_a_database(
    tampered: Tampered, tmp_path: Path
) -> None:
    before, head = tampered.before, tampered.head
    content = (tmp_path / "before").read_bytes().splitlines(keepends=True)
    without = [line for line in content[:-1] if tampered.left_out.encode() not in line]
    (tmp_path / "left-out").write_bytes(b"".join([*without, content[-1]]))
    (tmp_path / "cut").write_bytes(b"".join(without))
    left_out, cut = Export.read(tmp_path / "left-out"), Export.read(tmp_path / "cut")
    after = await written(tampered.database, tmp_path / "after", head)

    assert [*before.problems(), *before.problems_with_others(head)] == []
    assert any("events were exported" in one for one in left_out.problems())
    for lacking in (left_out, cut, after):
        assert any("are missing" in one for one in lacking.problems_with_others(head))
    assert history_checks.payments_gone(history_checks.differences_of_exports(cut, before)) == [
        (tampered.left_out, len(content) - 1 - len(without))
    ]


async def test_leaves_that_were_rewritten_with_their_rows_are_not_those_of_the_head(
    installation: Installation,
) -> None:
    await installation.settled()
    head = await made(installation.database)
    other = f"{int(head.tables['payment_events'].root, 16) ^ 1:064x}"
    body = head.body.replace(head.tables["payment_events"].root, other)
    forged = SignedHead(body, head.public_key, head.signature)

    found = await history_checks.differences_from_head(installation.database, forged)

    assert not forged.is_signed
    assert [(it.table, it.key) for it in found] == [("payment_events", "")]


def merkle_tree_hash(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, for one leaf or more."""
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << (len(leaves) - 1).bit_length() - 1
    left, right = merkle_tree_hash(leaves[:half]), merkle_tree_hash(leaves[half:])
    return hashlib.sha256(b"\x01" + left + right).digest()


async def test_an_auditor_checks_head_and_export_without_our_program(
    installation: Installation, tmp_path: Path
) -> None:
    """As docs/auditing.md says it, with nothing but JSON, SHA-256 and Ed25519."""
    await installation.settled()
    (tmp_path / "head").write_text((await made(installation.database)).text)
    await written(installation.database, tmp_path / "export")
    kept = json.loads((tmp_path / "head").read_text())
    signed = json.dumps(kept["head"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(kept["public_key"]))
    columns = ("payment_id", "seq", "event", "from_state", "to_state", "source", "facts", "at",
               "hash")  # fmt: skip

    key.verify(base64.b64decode(kept["signature"]), signed.encode())
    leaves: dict[int, bytes] = {}
    for line in (tmp_path / "export").read_text().splitlines()[:-1]:
        event = json.loads(line)
        row = {name: None if event[name] is None else str(event[name]) for name in columns}
        leaf = json.dumps(["payment_events", row], separators=(",", ":"), ensure_ascii=False)
        leaves[event["leaf"]] = hashlib.sha256(b"\x00" + leaf.encode()).digest()

    counted = kept["head"]["tables"]["payment_events"]
    assert sorted(leaves) == list(range(counted["rows"]))
    assert merkle_tree_hash([leaves[at] for at in sorted(leaves)]).hex() == counted["root"]
