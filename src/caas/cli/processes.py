"""The platform's processes: `caas serve`, `caas work` and `caas bill`.

Rule a change must keep: commands contain no business logic.
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
from caas.cli.commands import freeze_long_lived_objects, run_command, stop_on_sigterm
from caas.errors import CaasError
from caas.platform_metrics import PlatformMetrics
from caas.rules.mes_vencido import Month
from caas.server import open_port
from caas.settings import read_settings

PORT: Final = 8080
PORT_MAX: Final = 65_535

Port = Annotated[
    int, typer.Option(min=1, max=PORT_MAX, help="Port of the API and the web channels.")
]


def serve(port: Port = PORT, host: str = "127.0.0.1") -> None:
    """Serve the API and the web channels. Several processes can share one database."""
    run_command(_serve(host, port))


def work(host: str = "127.0.0.1") -> None:
    """Run background jobs. Several workers can share one database."""
    run_command(_work(host))


def bill(
    month: Annotated[str, typer.Option(metavar="YYYY-MM", help="The month to bill.")],
    *,
    again: Annotated[
        bool, typer.Option("--again", help="Retry what a completed run could not bill.")
    ] = False,
) -> None:
    """Bill a past month. The command can be interrupted and run again at any time."""
    try:
        wanted = Month.parse(month)
    except CaasError as error:
        raise typer.BadParameter(error.sentence, param_hint="--month") from error
    run_command(_bill(wanted, again=again))


async def _serve(host: str, port: int) -> None:
    stop_on_sigterm()
    logs.to_stderr()
    settings = read_settings(local_machine.joined(process_environment.environment()))
    async with app.opened(settings, login_checked=True) as platform:
        await server.store_api_keys(platform, settings)
        await server.serve(
            platform,
            settings,
            listener=server.listening(host, port),
            on_listening=freeze_long_lived_objects,
        )


async def _work(host: str) -> None:
    stop_on_sigterm()
    logs.to_stderr()
    settings = read_settings(local_machine.joined(process_environment.environment()))
    async with AsyncExitStack() as stack:
        platform = await stack.enter_async_context(app.opened(settings, login_checked=True))
        if settings.work_port is not None:
            signs = PlatformMetrics(platform)
            stack.push_async_callback(signs.close)
            await stack.enter_async_context(open_port(host, settings.work_port, signs))
        freeze_long_lived_objects()
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
        too_small = (await platform.billing.too_small([run])).get(run.month, 0)
    typer.echo(
        f"{run.month}: {run.subscriptions} subscriptions, {run.invoices} invoices, "
        f"{run.charges} charges, {too_small} below the gateway's minimum so far"
    )
