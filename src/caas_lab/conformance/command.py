"""The command `conform`: whether a gateway or a fleet does what the platform needs of it.

Rule a change must keep: the exit status is 0 only if every case passed or is excused.
"""

from pathlib import Path
from typing import Annotated, Final

import typer

from caas.cli.commands import AsJson

PORT_MAX: Final = 65_535
conform = typer.Typer(
    help="Check that a gateway or a fleet does what the platform needs of it.",
    no_args_is_help=True,
)
Only = Annotated[
    list[str] | None, typer.Option(metavar="NAME", help="Run this case; repeat for more.")
]
Listed = Annotated[bool, typer.Option("--list", help="List the cases and exit.")]


@conform.command()
def gateway(  # noqa: PLR0913  # options of a command
    adapter: Annotated[
        str | None, typer.Option(metavar="PACKAGE:OBJECT", help="An adapter to import.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--gateway", metavar="NAME", help="An installed adapter.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="A server of the documented contract.")
    ] = None,
    methods: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The provider's test methods, by role.")
    ] = None,
    webhook_port: Annotated[
        int | None,
        typer.Option(min=1, max=PORT_MAX, help="Port of this machine where webhooks come in."),
    ] = None,
    only: Only = None,
    *,
    listed: Listed = False,
    as_json: AsJson = False,
) -> None:
    """Run the cases of a payment gateway; exit status 1 unless all pass.

    Settings such as CAAS_GATEWAY_URL and CAAS_GATEWAY_API_KEY are read from the environment.
    """
    from caas_lab.conformance import gateway_command

    choice = gateway_command.Choice(
        adapter=adapter, name=name, url=url, methods=methods, webhook_port=webhook_port
    )
    gateway_command.run(choice, only=only or (), listed=listed, as_json=as_json)


@conform.command()
def fleet(
    mqtt: Annotated[
        str, typer.Option(metavar="URL", help="The broker, with the platform's account.")
    ] = "",
    file: Annotated[
        Path, typer.Option("--fleet", metavar="FILE", help="The vehicles and their public keys.")
    ] = Path("fleet.toml"),
    only: Only = None,
    *,
    listed: Listed = False,
    as_json: AsJson = False,
) -> None:
    """Run the cases of vehicles behind a broker; exit status 1 unless all pass.

    CAAS_VEHICLE_COMMAND_KEYS signs the commands; the vehicles must trust its public half.
    """
    from caas_lab.conformance import fleet_command

    fleet_command.run(mqtt, file, only=only or (), listed=listed, as_json=as_json)
