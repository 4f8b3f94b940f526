"""Report files that are dropped into a folder: taken when whole, moved away, with a sentence."""

from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from caas.billing_database.identifiers import derived_id
from caas.billing_database.job_rows import Job
from caas.jobs import RetryIn
from caas.reconciliation.drop_folder import DROPPED, DropFolder
from caas.rules.payment_states import PaymentState
from tests.reconciliation.crowd import HEADER, line_of, today
from tests.reconciliation.office import Office


class Watched:
    """A drop folder that a test looks into, as often as it wants."""

    def __init__(
        self, office: Office, folder: Path, *, quiet_seconds: float = 0.0, of_several: bool = False
    ) -> None:
        self.folder = folder
        self._payload: dict[str, Any] = {}
        self._desk = DropFolder(
            folder,
            tables=office.installation.platform.tables,
            days=office.reconciliation.days,
            preview=office.reconciliation.preview,
            reconcile=lambda day, file: office.reconciliation.reconcile(day, file=file),
            alert=office.installation.platform.notifications.alert,
            subject=derived_id("dropped reports", office.reconciliation.of().gateway),
            quiet_seconds=quiet_seconds,
            of_several=of_several,
        )

    async def look(self, times: int = 2) -> RetryIn:
        """Look so often, each time with what the last look remembered."""
        again = RetryIn(0.0)
        for _ in range(times):
            answer = await self._desk.look(Job(DROPPED, uuid4(), self._payload, 1, 1))
            assert isinstance(answer, RetryIn)
            again, self._payload = answer, answer.payload or {}
        return again

    def lies(self, name: str = "") -> list[str]:
        """Return what lies there, or in a folder there."""
        return sorted(it.name for it in (self.folder / name).iterdir() if it.is_file())


@pytest.fixture
def watched(office: Office, tmp_path: Path) -> Watched:
    """A folder of its own."""
    folder = tmp_path / "reports"
    folder.mkdir()
    return Watched(office, folder)


async def test_a_dropped_file_is_applied_and_moved_with_a_sentence(
    office: Office, watched: Watched
) -> None:
    payment = await office.capturing()
    text = f"{HEADER}\n{line_of(1, payment)}\n"
    (watched.folder / "bank.csv").write_text(text)
    (watched.folder / "broken.csv").write_text("a,b\n1,2\n")

    await watched.look(1)
    assert watched.lies() == ["bank.csv", "broken.csv"]
    await watched.look(1)

    assert (await office.payment(payment)).state is PaymentState.SETTLED
    assert watched.lies() == []
    assert watched.lies("done") == ["bank.csv", "bank.csv.txt"]
    assert watched.lies("refused") == ["broken.csv", "broken.csv.txt"]
    reported = (watched.folder / "done" / "bank.csv.txt").read_text()
    assert reported.startswith(f"canonical, applied for {today()}: 1 new lines (1 matched).")
    refused = (watched.folder / "refused" / "broken.csv.txt").read_text()
    assert refused.startswith("Line 1: No settlement report known here has such a header")
    [case] = await office.installation.platform.tables.cases.listed(status="open")
    assert case.kind == "settlement_report_refused"
    assert "broken.csv" in case.sentence


async def test_the_same_file_twice_is_harmless_and_keeps_both(
    office: Office, watched: Watched
) -> None:
    payment = await office.capturing()
    for _ in range(2):
        (watched.folder / "bank.csv").write_text(f"{HEADER}\n{line_of(1, payment)}\n")
        await watched.look()

    assert len(await office.lines_of(payment)) == 1
    assert watched.lies("done") == ["bank-2.csv", "bank-2.csv.txt", "bank.csv", "bank.csv.txt"]
    assert ": 0 new lines." in (watched.folder / "done" / "bank-2.csv.txt").read_text()


async def test_a_file_that_still_grows_or_is_named_so_is_left(
    office: Office, tmp_path: Path
) -> None:
    first, second = await office.capturing(), await office.capturing()
    folder = tmp_path / "reports"
    folder.mkdir()
    watched = Watched(office, folder)
    growing = folder / "bank.csv"
    growing.write_text(f"{HEADER}\n{line_of(1, first)}\n")
    (folder / "next.csv.part").write_text("half")
    (folder / ".hidden.csv").write_text("half")
    await watched.look(1)
    with growing.open("a") as file:
        file.write(f"{line_of(2, second)}\n")

    await watched.look(1)
    assert "bank.csv" in watched.lies()
    await watched.look(1)

    assert watched.lies() == [".hidden.csv", "next.csv.part"]
    assert (await office.payment(second)).state is PaymentState.SETTLED
    patient = Watched(office, folder, quiet_seconds=3600)
    (folder / "later.csv").write_text(f"{HEADER}\n{line_of(1, first)}\n")
    await patient.look(3)
    assert "later.csv" in watched.lies()


async def test_the_day_in_the_name_is_the_day(office: Office, watched: Watched) -> None:
    (watched.folder / "bank 2026-01-02.csv").write_text(
        f"{HEADER}\n{line_of(1, await office.capturing())}\n"
    )

    await watched.look()

    [name] = [it for it in watched.lies("refused") if it.endswith(".txt")]
    reported = (watched.folder / "refused" / name).read_text()
    assert f"the requested day is {date(2026, 1, 2)}" in reported


async def test_a_folder_that_cannot_be_used_is_a_case_that_ends_by_itself(
    office: Office, tmp_path: Path
) -> None:
    watched = Watched(office, tmp_path / "not there")

    again = await watched.look(2)
    cases = office.installation.platform.tables.cases
    [case] = await cases.listed(status="open")
    watched.folder.mkdir()
    await watched.look(1)

    assert case.kind == "report_folder_unusable"
    assert "No such file or directory" in (again.because or "")
    assert await cases.listed(status="open") == []


async def test_the_folder_of_one_of_several_gateways_is_made(
    office: Office, tmp_path: Path
) -> None:
    """It was missing, so that two gateways began with two cases."""
    watched = Watched(office, tmp_path / "stripe", of_several=True)

    await watched.look(1)

    assert sorted(it.name for it in watched.folder.iterdir()) == ["done", "refused"]
    assert await office.installation.platform.tables.cases.listed(status=None) == []


async def test_a_file_waits_while_a_run_is_under_way(office: Office, watched: Watched) -> None:
    (watched.folder / "bank.csv").write_text(f"{HEADER}\n{line_of(1, await office.capturing())}\n")

    async with office.reconciliation.days.alone(
        office.reconciliation.of().gateway, patience_seconds=0.0
    ):
        again = await watched.look()
    assert again.because is not None
    assert watched.lies() == ["bank.csv"]
    await watched.look(1)

    assert watched.lies("done") == ["bank.csv", "bank.csv.txt"]
