"""`caas heads` and `caas verify --against`, as an auditor uses them."""

import base64
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg

from caas.billing_database import connection, history_heads
from caas.cli.commands import ExitStatus
from caas.external_systems.vehicle_command_keys import VehicleCommandKeys
from caas.history_signing import HeadTerms
from caas.rules.signed_heads import SignedHead
from tests.installation import standing
from tests.start_up.conftest import Machine

KEY = b"k" * 32
PUBLIC = VehicleCommandKeys([KEY]).public[0].public_key
OTHER = VehicleCommandKeys([b"o" * 32]).public[0].public_key


async def sold_and_counted(dsn: str, head: Path) -> str:
    """Sell something, keep a head of it, and return the payment."""
    terms = HeadTerms(VehicleCommandKeys([KEY]), ())
    async with AsyncExitStack() as stack:
        database = await connection.connect(dsn)
        stack.push_async_callback(database.close)
        installation = await stack.enter_async_context(standing(database))
        await installation.car()
        await installation.offer_heated_seats()
        payment = await installation.settled()
        made = await history_heads.made(database, sign=terms.sign)
    assert made is not None
    head.write_text(made.text)
    return str(payment.id)


async def test_an_auditor_lists_heads_and_compares_with_one(
    machine: Machine, database_dsn: str, tmp_path: Path
) -> None:
    head, export = tmp_path / "head.json", tmp_path / "events.jsonl"
    payment = await sold_and_counted(database_dsn, head)
    here = {"CAAS_DATABASE_URL": database_dsn, "CAAS_HEAD_KEYS": base64.b64encode(KEY).decode()}

    listed = await machine.runs("heads", **here)
    keys = await machine.runs("heads", "--public-key", CAAS_HEAD_KEYS=here["CAAS_HEAD_KEYS"])
    same = await machine.runs("verify", "--against", str(head), **here)
    strange = await machine.runs("verify", "--against", str(head), "--key", OTHER, **here)
    exported = await machine.runs("verify", "--export", str(export), **here)
    owner = await asyncpg.connect(database_dsn)
    await owner.execute("alter table caas.payment_events disable trigger user")
    await owner.execute("delete from caas.payment_events")
    await owner.close()
    gone = await machine.runs("verify", "--against", str(head), **here)
    gone_from_export = await machine.runs("verify", "--against", str(export), **here)
    offline = await machine.runs(
        "verify", "--file", str(export), "--against", str(head), "--key", PUBLIC
    )
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(b"".join(export.read_bytes().splitlines(keepends=True)[:-1]))
    cut_off = await machine.runs("verify", "--file", str(cut))
    from_cut = await machine.runs("verify", "--file", str(export), "--against", str(cut))
    as_older = await machine.runs("verify", "--file", str(cut), "--without-end")

    assert "1  2" in listed.out
    for found in (cut_off, from_cut):
        assert (found.status, "its end marker is missing" in found.out) == (
            ExitStatus.FINDINGS,
            True,
        )
    assert (as_older.status, "has no end marker" in as_older.out) == (ExitStatus.DONE, True)
    assert PUBLIC in keys.out
    assert (same.status, exported.status, offline.status) == (ExitStatus.DONE,) * 3, same.stated
    assert "which is not trusted" in strange.out
    for found in (strange, gone, gone_from_export):
        assert found.status == ExitStatus.FINDINGS, found.stated
    assert f"payment {payment} is missing: its events 1 to " in gone.out
    assert f"payment {payment} is missing: its events 1 to " in gone_from_export.out


JUNK = (
    b"hello\n", bytes(range(256)), b"", b"[1, 2]\n", b"[" * 100_000,
    b'{"head": {"head": 1}, "public_key": "AA==", "signature": ""}',
)  # fmt: skip


async def test_a_file_that_is_no_head_and_no_export_is_told_in_a_sentence(
    machine: Machine, tmp_path: Path
) -> None:
    """It ended as if the environment were at fault."""
    file = tmp_path / "junk"
    for junk in JUNK:
        file.write_bytes(junk)
        found = await machine.runs("verify", "--file", str(file), "--against", str(file))
        assert found.status == ExitStatus.USAGE, found.stated
        assert "--against" in found.stated
        assert "is no export of events" in " ".join(found.stated.split())
    offline = await machine.runs("verify", "--file", str(file))

    assert (offline.status, "--file" in offline.stated) == (ExitStatus.USAGE, True)
    signature = '{"head": {"head": 1, "made_at": "", "previous": "", "tables": {}}, %s}'
    for key in ('"public_key": "AA==", "signature": "x"', '"public_key": "AA==", "signature": ""'):
        assert not SignedHead.parse(signature % key).is_signed
