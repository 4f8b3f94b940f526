"""The commands that open the whole platform: `caas serve`, `caas work` and `caas bill`.

Rule a change must keep: a command decides nothing that the platform does not.
"""

from contextlib import AsyncExitStack
from typing import Annotated, Final

import typer
from rich.progress import Progress

from caas import (
    app,
    local_machine,
    logs,
    process_environment,
    server,
)
from caas.cli.commands import end_in_order, run_command
from caas.cli.gc_tuning import set_aside_what_stays
from caas.errors import CaasError
from caas.platform_metrics import PlatformMetrics
from caas.rules.mes_vencido import Month
from caas.settings import read_settings
from caas.worker_endpoint import open_port

PORT: Final = 8080
PORT_MAX: Final = 65_535

Port = Annotated[
    int, typer.Option(min=1, max=PORT_MAX, help="Where the API and the channels listen.")
]


def serve(port: Port = PORT, host: str = "127.0.0.1") -> None:
    """Serve the API and the channels; any number of these share one database."""
    run_command(_serve(host, port))


def work(host: str = "127.0.0.1") -> None:
    """Do jobs; any number of these share one database."""
    run_command(_work(host))


def bill(
    month: Annotated[str, typer.Option(metavar="YYYY-MM", help="The month to bill.")],
    *,
    again: Annotated[
        bool, typer.Option("--again", help="Bill also what a finished run could not bill.")
    ] = False,
) -> None:
    """Bill a month that is over; it may be stopped and started again at any point."""
    try:
        wanted = Month.parse(month)
    except CaasError as error:
        raise typer.BadParameter(error.sentence, param_hint="--month") from error
    run_command(_bill(wanted, again=again))


async def _serve(host: str, port: int) -> None:
    end_in_order()
    logs.to_stderr()
    settings = read_settings(local_machine.joined(process_environment.environment()))
    async with app.opened(settings, login_checked=True) as platform:
        await server.serve(
            platform,
            settings,
            listener=server.listening(host, port),
            on_listening=set_aside_what_stays,
        )


async def _work(host: str) -> None:
    end_in_order()
    logs.to_stderr()
    settings = read_settings(local_machine.joined(process_environment.environment()))
    async with AsyncExitStack() as stack:
        platform = await stack.enter_async_context(app.opened(settings, login_checked=True))
        if settings.work_port is not None:
            signs = PlatformMetrics(platform)
            stack.push_async_callback(signs.close)
            await stack.enter_async_context(open_port(host, settings.work_port, signs))
        set_aside_what_stays()
        await platform.jobs.run()


async def _bill(month: Month, *, again: bool) -> None:
    settings = read_settings(local_machine.joined(process_environment.environment()))
    async with app.opened(settings, hears_vehicles=False) as platform:
        with Progress(transient=True) as bar:
            task = bar.add_task(f"Billing {month}")
            bills = platform.billing.run_again if again else platform.billing.run_month
            run = await bills(
                month,
                progress=lambda r: bar.update(task, total=r.subscriptions, completed=r.seen),
            )
    typer.echo(
        f"{run.month}: {run.subscriptions} subscriptions, {run.invoices} invoices, "
        f"{run.charges} charges"
    )
