"""The examples of the documents, run line by line against a platform of their own."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from docs.generate import ROOT

WITH_EXAMPLES = ("README.md", "docs/integrating.md")
EXAMPLE = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
UP_SECONDS_MAX = 120.0
EXAMPLES_SECONDS_MAX = 240.0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A platform that is up, and the variables that the examples begin with."""
    folder = tmp_path_factory.mktemp("up")
    variables = {**os.environ, "CAAS_DATA_DIR": str(folder / "data")}
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "caas.cli", "up", f"--port={port}"],
        stdout=subprocess.DEVNULL,
        env=variables,
        cwd=folder,
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process)
        yield variables
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.parametrize("document", WITH_EXAMPLES)
def test_the_examples_run_as_they_stand(document: str, world: dict[str, str]) -> None:
    examples = EXAMPLE.findall((ROOT / document).read_text("utf-8"))

    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(examples)],
        env=world,
        check=False,
        capture_output=True,
        timeout=EXAMPLES_SECONDS_MAX,
    )

    assert examples
    assert (ended.returncode, ended.stderr.decode()) == (0, ""), ended.stdout.decode()[-2000:]
    assert b'"holds":true' in ended.stdout or document != "README.md"
    assert b'"status":500' not in ended.stdout


def free_port() -> int:
    """Return a port that nobody has at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def wait_for(address: str, process: "subprocess.Popen[bytes]") -> None:
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


def test_every_document_with_examples_is_run() -> None:
    found = {
        str(path.relative_to(ROOT))
        for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
        if EXAMPLE.search(Path(path).read_text("utf-8"))
    }

    assert found == set(WITH_EXAMPLES)
