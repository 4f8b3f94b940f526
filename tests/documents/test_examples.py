"""The examples of the documents, run line by line against a platform of their own."""

import asyncio
import re
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import asyncpg
import pytest
from docs.generate import ROOT, documents

from caas.billing_database.embedded_postgresql import EmbeddedPostgresql
from tests.first_minutes.checkout import ADDRESS, PATH, Checkout, cloned

WITH_EXAMPLES = ("README.md", "docs/contributing/tour.md", "docs/integrating.md")
WITH_CONSOLES = (
    "README.md", "docs/operations.md", "docs/auditing.md", "docs/gateway-adapters.md",
    "docs/report-mappings.md", "docs/vehicles.md",
)  # fmt: skip
EXAMPLE = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
CONSOLE = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^\$ (.*)$", re.MULTILINE)
ELSEWHERE = {
    "./caas demo": "tests/demo",
    "./caas test": "whoever runs this",
    "./caas conform gateway": "tests/external_systems/conformance/test_conform_command.py",
    "./caas conform fleet": "tests/external_systems/conformance/test_fleet_conformance.py",
    "./caas up": "the platform of these tests",
    " ID": "tests/reconciliation/test_command_line.py",
    "--date": "tests/reconciliation/test_command_line.py",
    "acquirer": "tests/reconciliation/test_finance_commands.py",
    "--against": "tests/start_up/test_history_commands.py",
}
BROKEN = re.compile(rb'"broken":[1-9]')
UP_SECONDS_MAX = 120.0
EXAMPLES_SECONDS_MAX = 240.0


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A fresh clone in which the platform is up, as the documents say: nothing is set."""
    clone = cloned(tmp_path_factory.mktemp("documents"))
    process = subprocess.Popen(
        [clone.folder / "caas", "up"],
        stdout=subprocess.PIPE,
        env=environment(clone),
        cwd=clone.folder,
        text=True,
    )
    assert process.stdout is not None
    address = ""
    while not (address := "".join(ADDRESS.findall(process.stdout.readline()))):
        assert process.poll() is None, "the platform ended"
    applied = threading.Thread(target=process.stdout.read)
    applied.start()
    try:
        wait_for(f"{address}/health", process)
        yield clone
    finally:
        process.terminate()
        process.wait(60)
        applied.join(60)
        process.stdout.close()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server of the operators' own: empty, and with no role that the platform knows."""
    in_use = EmbeddedPostgresql()
    with TemporaryDirectory(prefix="caas-restore-") as folder:
        dsn = asyncio.run(in_use.start(Path(folder)))
        own = f"postgresql://operators@{quote(f'{folder}/postgresql', safe='')}"
        try:
            asyncio.run(stated(dsn, "create role operators superuser login"))
            asyncio.run(stated(f"{own}/postgres", "alter role caas rename to somebody"))
            yield own
            asyncio.run(stated(f"{own}/postgres", "alter role somebody rename to caas"))
        finally:
            asyncio.run(in_use.stop())


async def stated(dsn: str, statement: str) -> None:
    """Say something to a server."""
    session = await asyncpg.connect(dsn)
    await session.execute(statement)
    await session.close()


def environment(clone: Checkout) -> dict[str, str]:
    """Return what a newcomer has set."""
    return {"PATH": PATH, "HOME": str(clone.home)}


@pytest.mark.parametrize("document", WITH_EXAMPLES)
def test_the_examples_run_as_they_stand(document: str, checkout: Checkout) -> None:
    examples = EXAMPLE.findall((ROOT / document).read_text("utf-8"))

    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(examples)],
        env=environment(checkout),
        cwd=checkout.folder,
        check=False,
        capture_output=True,
        timeout=EXAMPLES_SECONDS_MAX,
    )

    assert examples
    assert (ended.returncode, ended.stderr.decode()) == (0, ""), ended.stdout.decode()[-2000:]
    assert b'"broken":0' in ended.stdout or document != "README.md"
    assert not BROKEN.search(ended.stdout), "an invariant that was checked by now does not hold"
    assert b'"status":500' not in ended.stdout


@pytest.mark.parametrize("document", WITH_CONSOLES)
def test_the_consoles_run_as_they_stand(document: str, checkout: Checkout, server: str) -> None:
    finds_programs = ""
    for console in CONSOLE.findall((ROOT / document).read_text("utf-8")):
        commands = [one for one in commands_of(console) if not run_elsewhere(one)]
        if "BIN=" in console:
            finds_programs = commands[0]
        elif "$BIN" in console:
            commands.insert(0, finds_programs)

        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "\n".join(commands)],
            env=environment(checkout) | {"SERVER": server},
            cwd=checkout.folder,
            check=False,
            capture_output=True,
            timeout=EXAMPLES_SECONDS_MAX,
        )

        assert ended.returncode == 0, f"{commands}: {ended.stderr.decode()}"
        assert "error" not in ended.stderr.decode().lower(), f"{commands}: {ended.stderr.decode()}"


def commands_of(console: str) -> list[str]:
    """Return the commands of a console, without what is said of them."""
    lines = COMMAND.findall(console.replace("\\\n", ""))
    return [line.partition("  #")[0].strip() for line in lines]


def run_elsewhere(command: str) -> bool:
    """Say whether a command needs more than a platform that has just come up."""
    return any(words in command for words in ELSEWHERE)


def wait_for(address: str, process: "subprocess.Popen[str]") -> None:
    """Wait until the platform answers."""
    until = time.monotonic() + UP_SECONDS_MAX
    while time.monotonic() < until:
        assert process.poll() is None, "the platform ended"
        try:
            with urllib.request.urlopen(address, timeout=5):  # noqa: S310 - our own address
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail("the platform did not come up")


@pytest.mark.parametrize(("block", "run"), [(EXAMPLE, WITH_EXAMPLES), (CONSOLE, WITH_CONSOLES)])
def test_every_document_with_commands_is_run(block: re.Pattern[str], run: tuple[str, ...]) -> None:
    found = {
        str(path.relative_to(ROOT)) for path in documents() if block.search(path.read_text("utf-8"))
    }

    assert found == set(run)
