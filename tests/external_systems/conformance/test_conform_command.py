"""`./caas conform gateway`: what it runs, what it prints, and its exit status."""

import asyncio
import json
import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from caas.cli.commands import ExitStatus
from caas.external_systems.gateway_adapters import GROUP
from caas_lab.conformance.gateway_runner import GATEWAY_CASES, GatewayTerms
from tests.external_systems.conformance.simulated import contract_terms, stripe_terms

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "docs" / "examples" / "acme_pay"
NOT_DECLARED = {"a_part_can_be_captured"}


@dataclass(frozen=True)
class Ended:
    """How the command ended."""

    status: int
    out: str
    err: str


async def conforms(*words: str, settings: Mapping[str, str], folder: Path = ROOT) -> Ended:
    """Run the command."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "caas_lab", "conform", "gateway", *words,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **settings}, cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


def webhooks(terms: GatewayTerms) -> tuple[str, str]:
    """The option that has webhooks come in."""
    return "--webhook-port", str(terms.webhook_port)


async def test_a_server_of_the_contract_conforms() -> None:
    async with contract_terms() as terms:
        url = terms.environment["CAAS_GATEWAY_URL"]
        ended = await conforms("--url", url, *webhooks(terms), settings=terms.environment)

    assert ended.status == ExitStatus.DONE, ended
    assert f"conforms: {len(GATEWAY_CASES)} passed, 0 failed, 0 excused" in ended.out


async def test_an_installed_adapter_conforms_and_the_report_says_what_it_is_excused_from() -> None:
    async with stripe_terms() as terms:
        words = ("--gateway", "stripe", "--json", *webhooks(terms))
        ended = await conforms(*words, settings=terms.environment)

    assert ended.status == ExitStatus.DONE, ended
    report = json.loads(ended.out)
    excused = {case["name"] for case in report["cases"] if case["verdict"] == "excused"}
    assert excused == NOT_DECLARED
    assert (report["conforms"], report["capabilities"]["partial_capture"]) == (True, False)


async def test_the_example_adapter_conforms() -> None:
    async with contract_terms() as terms:
        settings = {**terms.environment, "ACME_MERCHANT": "m-1"}
        words = ("--adapter", "acme_pay:ADAPTER", "--methods", "methods.toml", *webhooks(terms))
        ended = await conforms(*words, settings=settings, folder=EXAMPLE)

    assert ended.status == ExitStatus.DONE, ended
    assert f"acme at {terms.environment['CAAS_GATEWAY_URL']} conforms" in ended.out


def test_the_example_registers_its_adapter() -> None:
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]

    assert project["entry-points"][GROUP] == {"acme": "acme_pay:ADAPTER"}


async def test_what_was_not_tried_is_a_finding() -> None:
    async with contract_terms() as terms:
        url = terms.environment["CAAS_GATEWAY_URL"]
        words = ("--url", url, "--only", "what_is_wrongly_signed_is_refused")
        ended = await conforms(*words, settings=terms.environment)

    assert ended.status == ExitStatus.FINDINGS, ended
    assert "Give --webhook-port" in ended.out


async def test_missing_settings_are_told_at_once() -> None:
    ended = await conforms(
        "--adapter", "acme_pay:ADAPTER", "--methods", "methods.toml", settings={}, folder=EXAMPLE
    )

    assert ended.status == ExitStatus.ENVIRONMENT, ended
    assert (
        "CAAS_GATEWAY_URL, CAAS_GATEWAY_API_KEY, CAAS_GATEWAY_WEBHOOK_SECRETS and ACME_MERCHANT "
        "are not set."
    ) in ended.err


async def test_a_gateway_that_does_not_answer_is_an_error_of_the_environment() -> None:
    settings = {
        "CAAS_GATEWAY_API_KEY": "sk",
        "CAAS_GATEWAY_WEBHOOK_SECRETS": "whsec_bmV3LW5ldy1uZXctbmV3LW5ldy1uZXctbmV3LW5ldyE=",
    }

    ended = await conforms("--url", "http://127.0.0.1:9", settings=settings)

    assert ended.status == ExitStatus.ENVIRONMENT, ended
    assert "Nothing answers at http://127.0.0.1:9." in ended.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "give one of --adapter, --gateway and --url"),
        (("--url", "http://a", "--gateway", "stripe"), "give one of"),
        (("--gateway", "acmee"), "use one of adyen, contract, stripe"),
        (("--adapter", "no_such_module:ADAPTER"), "no_such_module"),
        (("--adapter", "json:dumps"), "is no GatewayAdapter"),
        (("--adapter", "acme_pay:ADAPTER"), "give the provider's test methods"),
        (("--only", "nothing"), "there is no case nothing"),
        (("--gateway", "stripe", "--methods", "pyproject.toml"), "unknown field"),
    ],
)
async def test_wrong_options_run_nothing(words: tuple[str, ...], sentence: str) -> None:
    ended = await conforms(*words, settings={}, folder=EXAMPLE)

    assert ended.status == ExitStatus.USAGE, ended
    assert sentence in " ".join(ended.err.replace("│", " ").split())
