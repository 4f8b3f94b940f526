"""`./caas conform gateway`: finds the adapter and the test methods, and runs the cases."""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import typer

from caas import process_environment
from caas.cli.commands import INTERRUPTED, run_command, stop_on_sigterm
from caas.errors import StartupError
from caas.external_systems import gateway_adapters
from caas.external_systems.gateway_adapters import CONTRACT, GatewayAdapter
from caas.setting_values import HTTP, is_address
from caas_lab.conformance.cases import Case
from caas_lab.conformance.gateway_runner import GATEWAY_CASES, GatewayTerms, run_gateway_cases
from caas_lab.conformance.gateway_under_test import ADDRESS, GatewayUnderTest
from caas_lab.conformance.methods_file import SHIPPED, MethodsFile, read_methods
from caas_lab.conformance.printing import conclude, print_cases, reporter, selected


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The options that say which gateway is tested, and with what."""

    adapter: str | None
    name: str | None
    url: str | None
    methods: Path | None
    webhook_port: int | None


def run(choice: Choice, *, only: Sequence[str], listed: bool, as_json: bool) -> None:
    """Run the cases, or list them.

    Raises:
        BadParameter: an option is wrong.
        Exit: not every case passed or is excused.
    """
    cases = selected(GATEWAY_CASES, only)
    if listed:
        print_cases(cases)
        return
    environment = process_environment.environment()
    adapter, methods = _adapter(choice), _methods(choice)
    if choice.url is not None:
        environment[ADDRESS] = choice.url
    terms = GatewayTerms(
        adapter=adapter, environment=environment, methods=methods,
        webhook_port=choice.webhook_port,
    )  # fmt: skip
    run_command(_run(terms, cases, as_json=as_json), when_stopped=INTERRUPTED)


async def _run(
    terms: GatewayTerms, cases: Sequence[Case[GatewayUnderTest]], *, as_json: bool
) -> None:
    stop_on_sigterm()
    report = await run_gateway_cases(terms, cases=cases, on_result=reporter(quiet=as_json))
    conclude(report, as_json=as_json)


def _adapter(choice: Choice) -> GatewayAdapter:
    given = [it for it in (choice.adapter, choice.name, choice.url) if it is not None]
    if len(given) != 1:
        raise typer.BadParameter("give one of --adapter, --gateway and --url")
    if choice.url is not None and not is_address(choice.url, HTTP):
        raise typer.BadParameter("this is no address; use https://host:port", param_hint="--url")
    if choice.adapter is None:
        return _installed(choice.name or CONTRACT)
    module, _, attribute = choice.adapter.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise typer.BadParameter(f"{error}", param_hint="--adapter") from error
    if not isinstance(found, GatewayAdapter):
        raise typer.BadParameter(f"{choice.adapter} is no GatewayAdapter", param_hint="--adapter")
    return found


def _installed(name: str) -> GatewayAdapter:
    try:
        return gateway_adapters.adapter(name)
    except gateway_adapters.UnknownGatewayError as error:
        raise typer.BadParameter(error.sentence, param_hint="--gateway") from error


def _methods(choice: Choice) -> MethodsFile:
    name = choice.name or (CONTRACT if choice.url else "")
    path = choice.methods or SHIPPED / f"{name}.toml"
    if choice.methods is None and not path.is_file():
        raise typer.BadParameter("give the provider's test methods", param_hint="--methods")
    try:
        return read_methods(path)
    except StartupError as error:
        raise typer.BadParameter(error.sentence, param_hint="--methods") from error
