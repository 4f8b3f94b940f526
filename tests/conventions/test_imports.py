"""What a command does not use it does not import: a small one answers at once."""

import subprocess
import sys

import pytest
import typer

from caas import cli

HEAVY = {"aiohttp", "apprise", "duckdb", "jinja2", "pypdf", "starlette", "typst", "uvicorn"}
WHOLE_PLATFORM = HEAVY - {"jinja2", "typst"}  # notifications and reports are written with those


def imported_with(*modules: str) -> set[str]:
    """Return the names of what a fresh process has imported with these modules."""
    source = f"import {', '.join(modules)}, sys; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", source], capture_output=True, check=True, text=True)
    return set(ran.stdout.split())


def test_the_command_line_imports_no_command_before_it_is_asked_for() -> None:
    ours = {name for name in imported_with("caas.cli") if name.partition(".")[0] == "caas"}

    assert ours == {
        "caas",
        "caas.cli",
        "caas.cli.commands",
        "caas.errors",
    }


@pytest.mark.parametrize(
    ("modules", "unneeded"),
    [
        (
            ("caas.cli.maintenance", "caas.cli.staff", "caas.cli.verify",
             "caas.cli.taxes"),
            {*HEAVY, "caas.platform", "caas.payment_processing"},
        ),
        (
            ("caas.cli.reconcile", "caas.cli.finance", "caas.cli.reports"),
            {*WHOLE_PLATFORM, "caas.console.application"},
        ),
    ],
    ids=["those that look something up", "those of reconciliation"],
)  # fmt: skip
def test_a_command_imports_nothing_that_only_others_need(
    modules: tuple[str, ...], unneeded: set[str]
) -> None:
    assert imported_with(*modules) & unneeded == set()


@pytest.mark.parametrize("name", ["claims", "discrepancies", "fees", "mappings", "staff", "taxes"])
def test_a_group_has_all_its_commands_when_it_alone_is_imported(name: str) -> None:
    """Those for many discrepancies stand in another module, and were gone."""
    program = typer.main.get_command(cli.program)
    assert isinstance(program, typer.core.TyperGroup)
    everything = dict(program.commands)
    source = (
        "import sys, typer; from caas import cli;"
        "group = typer.main.get_command(cli.program).commands[sys.argv[1]];"
        "print(*group.commands)"
    )

    alone = subprocess.run(
        [sys.executable, "-c", source, name], capture_output=True, check=True, text=True
    )

    group = everything[name]
    assert isinstance(group, typer.core.TyperGroup)
    assert alone.stdout.split() == list(group.commands)
