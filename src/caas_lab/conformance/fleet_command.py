"""`./caas conform fleet`: connects to the broker as the platform does, and runs the cases."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import typer

from caas import process_environment
from caas.cli.commands import INTERRUPTED, run_command, stop_on_sigterm
from caas.errors import StartupError
from caas.external_systems.mqtt_packets import BrokerAddress, BrokerUnavailableError
from caas.external_systems.vehicle_command_keys import VehicleCommandKeys
from caas.setting_values import is_address
from caas.settings import vehicle_command_keys
from caas_lab.conformance.cases import Case, CaseResult, ConformanceReport, run_cases
from caas_lab.conformance.fleet_cases import FLEET_CASES
from caas_lab.conformance.fleet_under_test import FleetFile, FleetUnderTest, fleet_under_test
from caas_lab.conformance.printing import conclude, print_cases, reporter, selected
from caas_lab.conformance.sandbox import read_file

SECONDS_MAX: Final = 60.0
"""How long an answer of a vehicle is waited for."""


class FleetTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What is run: a broker, the vehicles behind it, and the keys that they trust."""

    url: str
    file: FleetFile
    keys: VehicleCommandKeys
    seconds_max: float = SECONDS_MAX


def run(url: str, path: Path, *, only: Sequence[str], listed: bool, as_json: bool) -> None:
    """Run the cases, or list them.

    Raises:
        BadParameter: an option is wrong.
        Exit: not every case passed.
    """
    cases = selected(FLEET_CASES, only)
    if listed:
        print_cases(cases)
        return
    if not is_address(url, ("mqtt", "mqtts")):
        raise typer.BadParameter("use mqtt://user:password@host:1883", param_hint="--mqtt")
    try:
        file = read_file(path, FleetFile)
    except StartupError as error:
        raise typer.BadParameter(error.sentence, param_hint="--fleet") from error
    keys = vehicle_command_keys(process_environment.environment())
    terms = FleetTerms(url=url, file=file, keys=keys)
    run_command(_run(terms, cases, as_json=as_json), when_stopped=INTERRUPTED)


async def _run(terms: FleetTerms, cases: Sequence[Case[FleetUnderTest]], *, as_json: bool) -> None:
    stop_on_sigterm()
    report = await run_fleet_cases(terms, cases=cases, on_result=reporter(quiet=as_json))
    conclude(report, as_json=as_json)


async def run_fleet_cases(
    terms: FleetTerms,
    *,
    cases: Sequence[Case[FleetUnderTest]] = FLEET_CASES,
    on_result: Callable[[CaseResult], None] = lambda _result: None,
) -> ConformanceReport:
    """Run the cases; a fleet has no capabilities, so none is excused.

    Raises:
        StartupError: the broker cannot be used.
    """
    connected = fleet_under_test(terms.url, terms.file, terms.keys, seconds_max=terms.seconds_max)
    try:
        async with connected as it:
            results = await run_cases(cases, it, lacks=lambda _name: False, on_result=on_result)
    except BrokerUnavailableError as error:
        raise StartupError(
            f"The broker at {BrokerAddress.from_url(terms.url)!r} cannot be used. {error.sentence}"
        ) from error
    vehicles = "vehicle" if len(terms.file.vehicles) == 1 else "vehicles"
    about = f"{len(terms.file.vehicles)} {vehicles} at {BrokerAddress.from_url(terms.url)!r}"
    return ConformanceReport(about=about, capabilities={}, cases=results)
