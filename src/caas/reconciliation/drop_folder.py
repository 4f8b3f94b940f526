"""Drop folder: recognises dropped report files, applies them in a job, and moves them away.

A complete file is applied for the day in its name or in its dates (decision 103) and moved to
`done` or `refused`, next to a text file with the result.

Rules a change must keep: applying a file twice has no effect; a file that may still grow is left in
place; an unusable folder raises an alert and blocks nothing else.
"""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec
import structlog

from caas.billing_database.identifiers import derived_id
from caas.billing_database.job_rows import Job
from caas.billing_database.reconciliation_days import AlreadyReconcilingError, ReconciliationDays
from caas.billing_database.tables import BillingDatabase
from caas.errors import CaasError, UnavailableError
from caas.external_systems.report_files import BadReportError
from caas.jobs import Answer, Done, RetryIn
from caas.payment_processing.flow import Alert
from caas.reconciliation.finance_terms import Preview
from caas.reconciliation.reporting import counted
from caas.reconciliation.runs import Reconciled
from caas.rules.card_numbers import scrub

DROPPED: Final = "take_dropped_reports"
LOOK_SECONDS: Final = 10.0
QUIET_SECONDS: Final = 5.0
"""A file unchanged for this long is complete."""
FILES_MAX: Final = 100
DONE: Final = "done"
REFUSED: Final = "refused"
REFUSED_CASE: Final = "settlement_report_refused"
FOLDER_CASE: Final = "report_folder_unusable"
UNFINISHED: Final = (".part", ".partial", ".filepart", ".crdownload", ".tmp", ".swp")
HIDDEN: Final = (".", "~")
NAMED_DAY: Final = re.compile(r"(?<!\d)(\d{4}-\d\d-\d\d)(?!\d)")

_log = structlog.get_logger()


class DroppedFile(msgspec.Struct, frozen=True):
    """A file in the drop folder."""

    path: Path
    size: int
    changed_at: int

    @property
    def key(self) -> str:
        """Return the name as storable text, whatever bytes it contains."""
        return os.fsencode(self.path.name).hex()

    @property
    def shown(self) -> str:
        """Return the name in readable form."""
        return scrub(os.fsencode(self.path.name).decode("utf-8", "replace"))


class DropFolder:
    """Processes the files of a drop folder."""

    def __init__(
        self,
        folder: Path | None,
        *,
        tables: BillingDatabase,
        days: ReconciliationDays,
        preview: Callable[[Path], Awaitable[Preview]],
        reconcile: Callable[[date, Path], Awaitable[Reconciled]],
        alert: Alert,
        subject: UUID,
        quiet_seconds: float = QUIET_SECONDS,
        of_several: bool = False,
    ) -> None:
        """Watch this folder, with jobs and cases of this subject; None watches nothing.

        The folder of one gateway `of_several` is made within that of the settings.
        """
        self._of_several = of_several
        self._folder = folder
        self._tables = tables
        self._days = days
        self._preview = preview
        self._reconcile = reconcile
        self._alert = alert
        self.subject = subject
        self._quiet = timedelta(seconds=quiet_seconds)

    async def begin(self) -> None:
        """Schedule the job; idempotent."""
        if self._folder is not None:
            await self._tables.jobs.add_all([(DROPPED, self.subject, 0.0, {})])

    async def look(self, job: Job) -> Answer:
        """Process complete files, and record the size of files that may still grow."""
        if self._folder is None:
            return Done()
        try:
            found = await asyncio.to_thread(_files_in, self._folder, is_made=self._of_several)
            growing, because = await self._take_whole(found, job.payload.get("growing", {}))
        except OSError as error:
            sentence = (
                "The folder of CAAS_REPORTS_FOLDER cannot be used "
                f"({error.strerror}): {self._folder}. Its reports wait until it can."
            )
            await self._alert(FOLDER_CASE, self.subject, sentence)
            return RetryIn(LOOK_SECONDS, sentence, begins_anew=True)
        await self._tables.cases.close(
            FOLDER_CASE,
            self.subject,
            resolution="The folder is usable again.",
            owner="reconciliation",
        )
        return RetryIn(LOOK_SECONDS, because, {"growing": growing}, begins_anew=True)

    async def _take_whole(
        self, found: list[DroppedFile], known: dict[str, list[object]]
    ) -> tuple[dict[str, list[object]], str | None]:
        """Process unchanged files; return the remaining ones, and why one waits."""
        _, now = await self._days.today()
        growing: dict[str, list[object]] = {}
        because = None
        for file in found:
            size, changed_at, since = known.get(file.key, (None, None, None))
            same = (size, changed_at) == (file.size, file.changed_at)
            first_seen = datetime.fromisoformat(str(since)) if same else now
            if same and now - first_seen >= self._quiet:
                because = await self._take(file) or because
            if because is not None or not same or now - first_seen < self._quiet:
                growing[file.key] = [file.size, file.changed_at, first_seen.isoformat()]
        return growing, because

    async def _take(self, file: DroppedFile) -> str | None:
        """Apply a file and move it away; return the reason if it must wait."""
        preview = None
        try:
            preview = await self._preview(file.path)
            day = _day_of(file, preview)
            done = await self._reconcile(day, file.path)
        except (AlreadyReconcilingError, UnavailableError) as error:
            return error.sentence
        except CaasError as error:
            a_run_reported = preview is not None and isinstance(error, BadReportError)
            await self._refuse(file, error.sentence, is_reported=a_run_reported)
            return None
        except OSError as error:
            await self._refuse(file, f"The file cannot be read ({error.strerror}).")
            return None
        except Exception as error:  # one bad file must not block the others
            _log.exception("reconciliation.dropped_report_failed", file=file.shown)
            await self._refuse(file, f"Unexpected error ({type(error).__name__}).")
            return None
        late = done.run.late_of
        counts, cleared = counted(done.run.counts), counted(done.run.cleared)
        sentence = (
            f"{preview.format}, applied for {day}: {done.run.lines} new lines"
            f"{f' ({counts})' if counts else ''}. The day {done.day.day} is {done.day.verdict}."
            f"{f' Discrepancies that ended because of it: {cleared}.' if cleared else ''}"
            f"{f' {done.run.because}' if done.run.because else ''}"
            f"{f' The day {late} is sealed; new lines are late lines.' if late else ''}"
        )
        await asyncio.to_thread(_transition, file, DONE, sentence)
        _log.info("reconciliation.dropped_report_applied", file=file.shown, day=str(day))
        return None

    async def _refuse(self, file: DroppedFile, sentence: str, *, is_reported: bool = False) -> None:
        """Move a file to `refused`, and open a case unless the run already opened one."""
        await asyncio.to_thread(_transition, file, REFUSED, sentence)
        if is_reported:
            return
        reported = f"The dropped report '{file.shown[:100]}' was refused. {sentence}"
        await self._alert(REFUSED_CASE, derived_id("dropped report", file.key), reported)


def _day_of(file: DroppedFile, preview: Preview) -> date:
    """Return the day of a file: the one in its name, or the last of its dates.

    Raises:
        BadReportError: it contains no date.
    """
    named = [day for text in NAMED_DAY.findall(file.shown) if (day := _date(text)) is not None]
    if len(set(named)) == 1:
        return named[0]
    if preview.last_day is None:
        why = f" ({preview.unreadable[0]})" if preview.unreadable else ""
        raise BadReportError(f"No line of the file can be read{why}.")
    return preview.last_day


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _files_in(folder: Path, *, is_made: bool) -> list[DroppedFile]:
    """Return the complete files, oldest first; names of unfinished uploads are skipped.

    `is_made` makes the folder within an existing one.
    """
    if is_made and folder.parent.is_dir():
        folder.mkdir(exist_ok=True)
    for name in (DONE, REFUSED):
        if folder.is_dir():
            (folder / name).mkdir(exist_ok=True)
    with os.scandir(folder) as entries:
        files = [
            DroppedFile(Path(entry.path), reported.st_size, reported.st_mtime_ns)
            for entry in entries
            if _may_be_taken(entry.name) and entry.is_file(follow_symlinks=False)
            for reported in (entry.stat(follow_symlinks=False),)
        ]
    return sorted(files, key=lambda file: (file.changed_at, file.key))[:FILES_MAX]


def _may_be_taken(name: str) -> bool:
    return not name.startswith(HIDDEN) and not name.lower().endswith(UNFINISHED)


def _transition(file: DroppedFile, into: str, sentence: str) -> None:
    """Move a file under a free name and write the result next to it."""
    folder = file.path.parent / into
    target, number = folder / file.path.name, 1
    while target.exists() or target.with_name(f"{target.name}.txt").exists():
        number += 1
        target = folder / f"{file.path.stem}-{number}{file.path.suffix}"
    target.with_name(f"{target.name}.txt").write_text(f"{sentence}\n", "utf-8", "replace")
    file.path.rename(target)
