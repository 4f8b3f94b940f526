"""Each exit status, by commands that end with it: the table of docs/operations.md is true."""

from pathlib import Path

import pytest

from caas.cli.commands import ExitStatus
from tests.start_up.conftest import Machine


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("verify", "--file", "{folder}/no-export"), ExitStatus.USAGE),
        (("verify", "--file", "{folder}/junk"), ExitStatus.USAGE),
        (("verify", "--export", "{folder}/nowhere/events"), ExitStatus.ENVIRONMENT),
        (("self-check", "--full"), ExitStatus.DONE),
        (("staff", "add", "x", "--role", "sales"), ExitStatus.REFUSED),
        (("seal", "--date", "2026-11-19"), ExitStatus.USAGE),
        (("seal", "--date", "2026-11-19", "--yes"), ExitStatus.REFUSED),
        (("bill", "--month", "2099-01"), ExitStatus.REFUSED),
        (("report", "--date", "2026-11-19"), ExitStatus.REFUSED),
        (("discrepancies", "show", "01936d5e-0000-7000-8000-000000000001"), ExitStatus.REFUSED),
        (("serve", "--host", "no.such.host.invalid"), ExitStatus.ENVIRONMENT),
    ],
    ids=str,
)
async def test_a_command_ends_as_the_table_of_exit_statuses_says(
    machine: Machine,
    settings: dict[str, str],
    words: tuple[str, ...],
    status: ExitStatus,
    tmp_path: Path,
) -> None:
    (tmp_path / "junk").write_text("no events\n")

    ended = await machine.runs(*(word.format(folder=tmp_path) for word in words), **settings)

    assert ended.status == status, ended.stated
    assert "Traceback" not in ended.stated
