"""Reconciliation commands: reconcile a day, investigate discrepancies, seal a day, and report.

Rules a change must keep: `--by` is a name without an account, so it never approves; a finding gives
exit status 1.
"""

from collections.abc import Awaitable, Callable
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
import typer

from caas import app, local_machine, process_environment
from caas.billing_database.accounts import Actor
from caas.billing_database.discrepancies import Discrepancy, DiscrepancyFilter
from caas.cli import reconciliation_texts as texts
from caas.cli.commands import (
    FINDINGS,
    INTERRUPTED,
    AsJson,
    By,
    Yes,
    ask,
    lower_priority,
    parse_day,
    print_json,
    print_table,
    run_command,
    with_currency,
)
from caas.errors import StartupError
from caas.reconciliation import Expected, Reconciled, Reconciliation
from caas.reconciliation.fetching import Progress, ReportUnavailableError
from caas.reconciliation.reporting import as_data, as_text, position_text
from caas.rules.discrepancies import DiscrepancyKind, Resolution
from caas.settings import read_settings

GOOD: Final = frozenset({"closed", "in progress"})
PATIENCE_SECONDS: Final = 60.0
MEDIA_TYPES: Final = {
    ".csv": "text/csv", ".jpeg": "image/jpeg", ".jpg": "image/jpeg", ".json": "application/json",
    ".pdf": "application/pdf", ".png": "image/png", ".txt": "text/plain",
}  # fmt: skip
FORMS: Final = ("csv", "json", "pdf")

discrepancies = typer.Typer(
    help="Discrepancies between the gateway's reports and our records.", no_args_is_help=True
)


Day = Annotated[
    date, typer.Option("--date", metavar="YYYY-MM-DD", parser=parse_day, help="The day.")
]
Id = Annotated[UUID, typer.Argument(metavar="ID", help="The discrepancy.")]
Note = Annotated[str, typer.Option("--note", help="Why.")]
Gateway = Annotated[
    str | None,
    typer.Option(help="The gateway, by its name. [default: that of new payments]"),
]
OnlyGateway = Annotated[
    str | None, typer.Option(help="Only this gateway; required with --file, if several.")
]
Operation = Callable[[Reconciliation], Awaitable[None]]


def reconcile(
    day: Day,
    file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Read the report from this file."),
    ] = None,
    lines: Annotated[
        int | None, typer.Option(min=0, help="Expected lines after the header; 0 for none.")
    ] = None,
    net: Annotated[
        list[str] | None,
        typer.Option(help="Expected total, for example '24.88 EUR'; one for each currency."),
    ] = None,
    *,
    gateway: OnlyGateway = None,
    as_json: AsJson = False,
) -> None:
    """Reconcile a day at every gateway, or at one. The command can be interrupted and repeated.

    A file is refused if its dates are outside the day or its totals differ from --lines and --net.
    A complete day without open discrepancies is closed. A sealed day's new lines go to a later one.
    """
    if file is None and (lines is not None or net):
        raise typer.BadParameter("--lines and --net require --file")
    expected = Expected(lines=lines, nets=with_currency(net or ()))

    async def operation(reconciliation: Reconciliation) -> None:
        from rich.console import Console  # noqa: PLC0415  # imports that only this command pays for
        from rich.progress import Progress as Bars  # noqa: PLC0415

        lower_priority()
        finished, unavailable = list[Reconciled](), list[ReportUnavailableError]()
        for name in (gateway,) if gateway or file else reconciliation.gateways:
            with Bars(transient=True, console=Console(stderr=True)) as bars:
                run = reconciliation.reconcile(
                    day, gateway=name, file=file, expected=expected, progress=_progress_of(bars),
                    patience_seconds=PATIENCE_SECONDS,
                )  # fmt: skip
                try:
                    finished.append(await run)
                except ReportUnavailableError as error:  # the other gateways' days do not wait
                    unavailable.append(error)
        for done in finished:
            print_json(done) if as_json else typer.echo("\n".join(texts.summary(done)))
        if unavailable:
            raise unavailable[0]
        if any(done.day.verdict not in GOOD for done in finished):
            raise typer.Exit(FINDINGS)

    writing(operation)


def days(*, as_json: AsJson = False) -> None:
    """List the days of every gateway with their verdicts, newest first."""

    async def operation(reconciliation: Reconciliation) -> None:
        known = await reconciliation.listed()
        if as_json:
            print_json(known)
        else:
            rows = [
                [str(it.day), it.gateway, texts.verdict_of(it), it.because or ""] for it in known
            ]
            print_table(rows)

    reading(operation)


def report(
    day: Day,
    out: Annotated[
        Path | None, typer.Option(help="Write the report to this file: .pdf, .csv or .json.")
    ] = None,
    gateway: Gateway = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Report on a day: matches, discrepancies, their age, amounts at risk, and losses."""
    form = "json" if as_json or out is None else out.suffix.removeprefix(".")
    if form not in FORMS:
        endings = ", ".join(f".{it}" for it in FORMS)
        raise typer.BadParameter(f"the file must end in one of {endings}", param_hint="--out")

    async def operation(reconciliation: Reconciliation) -> None:
        reporting = reconciliation.of(gateway).reporting
        advance_bar = await reporting.report(day)
        as_json_text = msgspec.json.encode(as_data(advance_bar))
        if out is not None:
            content = as_json_text if form == "json" else await reporting.file(day, form)
            _write(out, content)
            typer.echo(f"{out}: {texts.sentence_of(advance_bar.day)}")
        else:
            typer.echo(as_json_text.decode() if as_json else as_text(advance_bar), nl=as_json)

    reading(operation)


def position(
    since: Annotated[
        date, typer.Option("--since", metavar="YYYY-MM-DD", parser=parse_day, help="First day.")
    ],
    until: Annotated[
        date, typer.Option("--until", metavar="YYYY-MM-DD", parser=parse_day, help="Last day.")
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Report the current position: amounts at risk, age of discrepancies, and losses."""

    async def operation(reconciliation: Reconciliation) -> None:
        found = await reconciliation.reporting.position(since, until)
        print_json(found) if as_json else typer.echo(position_text(found), nl=False)

    reading(operation)


def seal(
    day: Day, by: By, gateway: Gateway = None, *, yes: Yes = False, as_json: AsJson = False
) -> None:
    """Seal a closed day of one gateway. This cannot be undone."""
    if not yes:
        ask(f"Seal {day}? This cannot be undone.")

    async def operation(reconciliation: Reconciliation) -> None:
        sealed = await reconciliation.seal(day, by=by, gateway=gateway)
        print_json(sealed) if as_json else typer.echo(texts.sentence_of(sealed))

    writing(operation)


def release_line(
    report_id: Annotated[UUID, typer.Argument(metavar="REPORT", help="ID of the report.")],
    place: Annotated[int, typer.Argument(help="Position in the report.", min=0, max=2**62)],
    note: Note,
    by: By,
) -> None:
    """Release a quarantined line, with a reason."""

    async def operation(reconciliation: Reconciliation) -> None:
        judged = await reconciliation.release_quarantined(report_id, place, by=by, note=note)
        typer.echo(texts.sentence_of(judged))

    writing(operation)


@discrepancies.command(name="list")
def list_(  # one option per filter
    day: Annotated[
        date | None,
        typer.Option("--date", metavar="YYYY-MM-DD", parser=parse_day, help="Only this day."),
    ] = None,
    kind: Annotated[DiscrepancyKind | None, typer.Option(help="Only this kind.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only this owner.")] = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Include resolved discrepancies.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List open discrepancies, earliest due date first."""

    async def operation(reconciliation: Reconciliation) -> None:
        asked = DiscrepancyFilter(day=day, kind=kind, owner=owner, unresolved=not everything)
        found = await reconciliation.discrepancies.listed(asked)
        page = found
        while page:
            page = await reconciliation.discrepancies.listed(asked, after=page[-1].id)
            found += page
        print_json(found) if as_json else print_table([texts.row_of(it) for it in found])

    reading(operation)


@discrepancies.command()
def show(id_: Id, *, as_json: AsJson = False) -> None:
    """Show a discrepancy: its report line, history, documents, and allowed resolutions.

    The gateway is not asked.
    """

    async def operation(reconciliation: Reconciliation) -> None:
        looked = await reconciliation.investigation.check(id_, asks_gateway=False)
        print_json(looked) if as_json else typer.echo("\n".join(texts.described(looked)))

    reading(operation)


@discrepancies.command()
def take(
    id_: Id, by: By, owner: Annotated[str | None, typer.Option(help="Another person.")] = None
) -> None:
    """Assign a discrepancy to yourself or to another person."""
    _step(lambda reconciliation: reconciliation.investigation.assign(id_, owner=owner or by, by=by))


@discrepancies.command()
def note(id_: Id, text: Annotated[str, typer.Argument(help="Text of the note.")], by: By) -> None:
    """Add a note."""
    _step(lambda reconciliation: reconciliation.investigation.note(id_, text=text, by=by))


@discrepancies.command()
def attach(
    id_: Id,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The document.")],
    by: By,
) -> None:
    """Attach a document: PDF, image or text."""
    media_type = MEDIA_TYPES.get(file.suffix.lower(), "application/octet-stream")

    async def operation(reconciliation: Reconciliation) -> None:
        document = await reconciliation.investigation.attach(
            id_, name=file.name, media_type=media_type, content=file.read_bytes(), by=by
        )
        typer.echo(f"{document}  {file.name}")

    writing(operation)


@discrepancies.command()
def resolve(
    id_: Id,
    resolution: Annotated[Resolution, typer.Argument(help="`show` lists those allowed.")],
    note: Note,
    by: By,
) -> None:
    """Resolve a discrepancy, or propose it if it needs a second approver."""
    me = Actor(by)
    _step(lambda it: it.investigation.resolve(id_, resolution=resolution, note=note, by=me))


@discrepancies.command()
def approve(id_: Id, by: By) -> None:
    """Always refused: approve in the console or with an API key of your account."""
    _step(lambda reconciliation: reconciliation.investigation.approve(id_, by=Actor(by)))


@discrepancies.command()
def reject(id_: Id, note: Note, by: By) -> None:
    """Reject a proposed resolution; the discrepancy is open again."""
    _step(lambda reconciliation: reconciliation.investigation.reject(id_, note=note, by=Actor(by)))


@discrepancies.command()
def reopen(id_: Id, note: Note, by: By) -> None:
    """Reopen a resolved discrepancy and reverse its ledger entries."""
    _step(lambda reconciliation: reconciliation.investigation.reopen(id_, note=note, by=by))


def reading(operation: Operation) -> None:
    """Run a read-only operation on the database."""

    async def opened() -> None:
        environment = local_machine.joined(process_environment.environment())
        async with app.reading(environment) as platform:
            await operation(platform.reconciliation)

    run_command(opened(), when_stopped=INTERRUPTED)


def writing(operation: Operation) -> None:
    """Run an operation with the configured gateway."""

    async def opened() -> None:
        settings = read_settings(local_machine.joined(process_environment.environment()))
        async with app.opened(settings, hears_vehicles=False) as platform:
            await operation(platform.reconciliation)

    run_command(opened(), when_stopped=INTERRUPTED)


def _step(operate: Callable[[Reconciliation], Awaitable[Discrepancy]]) -> None:
    async def operation(reconciliation: Reconciliation) -> None:
        print_table([texts.row_of(await operate(reconciliation))])

    writing(operation)


def _progress_of(bars: Any) -> Progress:
    """Return a callback that advances one progress bar per phase."""
    phases: dict[str, Any] = {}

    def advance_bar(phase: str, done: int, total: int) -> None:
        if phase not in phases:
            phases[phase] = bars.add_task(f"Lines {phase}")
        bars.update(phases[phase], completed=done, total=total)

    return advance_bar


def _write(out: Path, content: bytes) -> None:
    try:
        out.write_bytes(content)
    except OSError as error:
        raise StartupError(
            f"Cannot write {out} ({error.strerror}). Name another file with --out."
        ) from error
