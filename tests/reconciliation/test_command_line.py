"""The clerk's commands, each as a process of its own: output and exit status."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from typer.testing import CliRunner

from caas.cli import program
from caas.cli.commands import NICENESS
from tests.cars import COMMAND_KEY
from tests.installation import Installation
from tests.people import employed
from tests.reconciliation.crowd import report_file, settlements
from tests.reconciliation.office import Office
from tests.ways_in import SETTINGS as WAYS_IN

ROOT = Path(__file__).parents[2]
WEBHOOK_SECRET = "whsec_" + "Z2F0ZXdheS1zZWNyZXQtb2YtdGhlLXRlc3Rz"
LARGE = 60_000


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What was printed, as JSON."""
        return json.loads(self.out)


Caas = Callable[..., Awaitable[Ended]]


def environment_of(installation: Installation, folder: Path) -> dict[str, str]:
    """Every setting a command needs to work in this installation."""
    nobody = "http://127.0.0.1:9"
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT / "src"),
        "CAAS_DATA_DIR": str(folder / "data"),
        "CAAS_DATABASE_URL": installation.database.dsn,
        "CAAS_GATEWAY_URL": installation.gateway_url,
        "CAAS_GATEWAY_API_KEY": "sk_simulated",
        "CAAS_GATEWAY_WEBHOOK_SECRETS": WEBHOOK_SECRET,
        "CAAS_PARTNER_WEBHOOK_SECRETS": WEBHOOK_SECRET,
        "CAAS_VEHICLE_COMMAND_KEYS": COMMAND_KEY,
        **WAYS_IN,
        "CAAS_MQTT_URL": "in-process:",
        "CAAS_FACTORY_URL": nobody,
        "CAAS_REGISTRATION_URL": nobody,
        "CAAS_TRANSPORT_URL": nobody,
        "CAAS_PUBLIC_URL": nobody,
        "CAAS_API_KEYS": "ops:operations:" + "k" * 43,
        "CAAS_SETTLEMENT_FEES": "14,25,1500",
    }


async def started(
    installation: Installation, folder: Path, *words: object, **more: str
) -> asyncio.subprocess.Process:
    """Start `caas <words>` in the installation."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "caas.cli", *map(str, words),
        env=environment_of(installation, folder) | more, cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


@pytest.fixture
def installation_rows(installation: Installation) -> Callable[[], Awaitable[dict[str, str]]]:
    """Return what stands in every table of the installation, as a digest of each."""

    async def counted() -> dict[str, str]:
        tables = await installation.database.fetch(
            "select relname from pg_class where relkind = 'r'"
            " and relnamespace = 'caas'::regnamespace"
        )
        found: dict[str, str] = {}
        for table in tables:
            name = table["relname"]
            [row] = await installation.database.fetch(
                f"select md5(coalesce(string_agg(t::text, '|' order by t::text), '')) as digest"
                f" from {name} t"
            )
            found[name] = row["digest"]
        return found

    return counted


@pytest.fixture
def caas(installation: Installation, tmp_path: Path) -> Caas:
    """Run `caas <words>` in the installation, to its end."""

    async def run(*words: object, **more: str) -> Ended:
        process = await started(installation, tmp_path, *words, **more)
        out, err = await process.communicate()
        assert process.returncode is not None
        return Ended(process.returncode, out.decode(), err.decode())

    return run


async def test_a_day_is_reconciled_investigated_reported_and_sealed(
    office: Office, caas: Caas, tmp_path: Path
) -> None:
    await office.line(await office.capturing())
    await office.line(transaction_id="txn_alien", gross=LARGE)
    await office.installation.gateway_does("close-day", date=office.today.isoformat())
    day, paper = ("--date", office.today), tmp_path / "day.pdf"

    first = await caas("reconcile", *day)
    [found] = (await caas("discrepancies", "list", *day, "--json")).json
    taken = await caas("discrepancies", "take", found["id"], "--by", "Ana")
    proposed = await caas(
        "discrepancies", "resolve", found["id"], "correct_by_entry", "--note", "Theirs.",
        "--by", "Ana",
    )  # fmt: skip
    alone = await caas("discrepancies", "approve", found["id"], "--by", "Ana")
    luis = await employed(office.installation.database, "luis")
    await office.reconciliation.investigation.approve(UUID(found["id"]), by=luis)
    both = await caas("discrepancies", "show", found["id"])
    again = await caas("reconcile", *day, "--json")
    report = await caas("report", *day, "--out", paper)
    unasked = await caas("seal", *day, "--by", "Luis")
    sealed = await caas("seal", *day, "--by", "Luis", "--yes")
    late = await caas("reconcile", *day)

    assert (first.status, "open discrepancies" in first.out) == (1, True)
    assert "1  missing_in_book" in first.out
    assert "Ana" in taken.out
    assert "proposed" in proposed.out
    assert (alone.status, "a person's account" in alone.err) == (4, True)
    assert "resolved: correct_by_entry" in both.out
    assert (again.status, again.json["day"]["verdict"]) == (0, "closed")
    assert (report.status, paper.read_bytes()[:4]) == (0, b"%PDF")
    assert (unasked.status, "stdin is not a terminal" in unasked.err) == (2, True)
    assert (sealed.status, "sealed by Luis" in sealed.out) == (0, True)
    assert (late.status, f"{office.today} is sealed" in late.out) == (0, True)


async def test_half_a_file_is_refused_by_what_its_giver_knows_of_it(
    office: Office, caas: Caas, tmp_path: Path
) -> None:
    path = report_file(tmp_path / "half.csv", settlements([await office.capturing()]))
    words = ("reconcile", "--date", office.today, "--file", path)

    lines = await caas(*words, "--lines", 2)
    net = await caas(*words, "--net", "25.12 EUR")
    bare = await caas(*words, "--net", "12.56")
    whole = await caas(*words, "--lines", 1, "--net", "12.56 EUR")
    without = await caas("reconcile", "--date", office.today, "--lines", 1)

    assert (lines.status, "has 1 lines after its header" in lines.err) == (4, True)
    assert (bare.status, "has no currency" in bare.err) == (2, True)
    assert (net.status, "12.56 EUR instead of 25.12 EUR" in net.err) == (4, True)
    assert (whole.status, without.status) == (0, 2)


@pytest.mark.skipif(sys.platform != "linux", reason="a full disk is played by a limit of Linux")
async def test_a_full_disk_is_a_sentence_and_the_environment_s_exit_status(
    office: Office, tmp_path: Path
) -> None:
    path = report_file(tmp_path / "day.csv", settlements([await office.capturing()]))
    started_by = (
        "import resource, sys; sys.dont_write_bytecode = True; from caas.cli import main;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); sys.exit(main())"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", started_by, "reconcile", "--date", str(office.today),
        "--file", str(path), env=environment_of(office.installation, tmp_path), cwd=tmp_path,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, err = await process.communicate()

    assert (process.returncode, b"There is no room left" in err) == (3, True), err.decode()
    assert b"Traceback" not in err


async def test_a_reconciliation_lets_others_go_first(office: Office, tmp_path: Path) -> None:
    """A day of a million lines made customers wait five times as long for their payments."""
    await office.installation.gateway_does(
        "faults", match={"operation": "settlements"}, action={"latency_ms": 60_000}
    )

    run = await started(office.installation, tmp_path, "reconcile", "--date", office.today)
    try:
        async with asyncio.timeout(60):
            while os.getpriority(os.PRIO_PROCESS, run.pid) < NICENESS:
                await asyncio.sleep(0.05)
                assert run.returncode is None
            while sys.platform == "linux" and os.sched_getscheduler(run.pid) != os.SCHED_IDLE:
                await asyncio.sleep(0.05)
                assert run.returncode is None
    finally:
        run.kill()
        await run.communicate()


async def test_a_file_is_taken_instead_of_the_gateway_s_report(
    office: Office, caas: Caas, tmp_path: Path
) -> None:
    payment = await office.capturing()
    good = report_file(tmp_path / "good.csv", settlements([payment]))
    (tmp_path / "empty.csv").write_text("")
    day = ("--date", office.today)

    taken = await caas("reconcile", *day, "--file", good)
    empty = await caas("reconcile", *day, "--file", tmp_path / "empty.csv")
    listed = await caas("days")

    assert (taken.status, "1  matched" in taken.out) == (0, True)
    assert (empty.status, "Nothing was applied" in empty.err) == (4, True)
    assert listed.out.split()[:3] == [office.today.isoformat(), "contract", "closed"]


async def test_commands_that_read_write_nothing_and_call_nobody(
    office: Office, caas: Caas, installation_rows: Callable[[], Awaitable[dict[str, str]]]
) -> None:
    """`caas days` called gateway and broker, and began the nightly jobs of a whole platform."""
    await office.line(transaction_id="txn_alien", gross=LARGE)
    await office.installation.gateway_does("close-day", date=office.today.isoformat())
    await caas("reconcile", "--date", office.today)
    [found] = (await caas("discrepancies", "list", "--json")).json
    before = await installation_rows()

    away = {"CAAS_GATEWAY_URL": "http://127.0.0.1:9", "CAAS_MQTT_URL": "mqtt://127.0.0.1:9"}
    ended = [
        await caas("days", **away),
        await caas("report", "--date", office.today, **away),
        await caas("position", "--since", office.today, "--until", office.today, **away),
        await caas("discrepancies", "list", **away),
        await caas("discrepancies", "show", found["id"], **away),
        await caas("staff", "list", **away),
        await caas("self-check", "--full", **away),
        await caas("verify", **away),
    ]

    assert [one.status for one in ended] == [0] * len(ended), ended
    assert await installation_rows() == before


@pytest.mark.parametrize(
    "words",
    [
        ("reconcile", "--date", "tomorrow"),
        ("reconcile",),
        ("reconcile", "--date", "2026-11-19", "--file", "nowhere.csv"),
        ("report", "--date", "2026-11-19", "--out", "day.docx"),
        ("discrepancies", "show", "17"),
        ("discrepancies", "resolve", "01936d5e-0000-7000-8000-000000000001", "shrug"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(words: tuple[str, ...]) -> None:
    ended = CliRunner().invoke(program, words)

    assert (ended.exit_code, ended.stdout) == (2, "")


async def test_a_gateway_that_gives_no_report_is_3_and_says_what_to_do(
    office: Office, caas: Caas
) -> None:
    await office.installation.gateway_does(
        "faults", match={"operation": "settlements"}, action={"status": 503}
    )

    ended = await caas("reconcile", "--date", office.today)

    assert (ended.status, "Retry later" in ended.err) == (3, True)


async def test_a_command_waits_for_the_hourly_run(office: Office, caas: Caas) -> None:
    """Beside a platform that was just taking the hour in, the clerk's command failed."""
    gateway = office.reconciliation.of().gateway
    await office.installation.gateway_does("close-day", date=office.today.isoformat())

    async with office.reconciliation.days.alone(gateway):
        waiting: asyncio.Future[Ended] = asyncio.ensure_future(
            caas("reconcile", "--date", office.today)
        )
        while not await office.installation.database.fetch(
            "select 1 from pg_locks where locktype = 'advisory' and not granted"
        ):
            await asyncio.sleep(0.01)
    ended = await waiting

    assert (ended.status, "closed" in ended.out) == (0, True)
