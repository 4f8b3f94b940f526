"""Runs the cases of gateways against one adapter."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import asdict

from caas.app import now
from caas.errors import StartupError
from caas.external_systems.gateway_adapters import GatewayAdapter, GatewayContext
from caas_lab.conformance import (
    gateway_authorization_cases,
    gateway_repetition_cases,
    gateway_resolution_cases,
    gateway_webhook_cases,
)
from caas_lab.conformance.cases import Case, CaseResult, ConformanceReport, run_cases
from caas_lab.conformance.gateway_reports import Customers, Reported
from caas_lab.conformance.gateway_under_test import (
    RETURN_URL,
    GatewayUnderTest,
)
from caas_lab.conformance.methods_file import MethodsFile
from caas_lab.conformance.webhook_receiver import receiving

GATEWAY_CASES: Final = (
    *gateway_authorization_cases.CASES,
    *gateway_repetition_cases.CASES,
    *gateway_resolution_cases.CASES,
    *gateway_webhook_cases.CASES,
)
CONNECT_SECONDS_MAX: Final = 10.0
SECONDS_MAX: Final = 60.0
"""How long a webhook, and a state that the sandbox brings about, are waited for."""


class GatewayTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What is run: an adapter with its settings and methods, and where webhooks come in."""

    adapter: GatewayAdapter
    environment: Mapping[str, str]
    methods: MethodsFile
    webhook_port: int | None = None
    seconds_max: float = SECONDS_MAX


@asynccontextmanager
async def under_test(terms: GatewayTerms) -> AsyncIterator[GatewayUnderTest]:
    """Connect the gateway during the block.

    Raises:
        StartupError: its settings are incomplete, or nothing listens at its address.
    """
    configured = terms.adapter.configure(terms.environment)
    await _check_address(configured.address)
    async with AsyncExitStack() as stack:
        receiver = None
        if terms.webhook_port is not None:
            receiver = await stack.enter_async_context(
                receiving(terms.webhook_port, seconds_max=terms.seconds_max)
            )
        context = GatewayContext(
            customers=Customers(), reported=Reported(configured, receiver), return_url=RETURN_URL,
            now=now,
        )  # fmt: skip
        gateway = configured.connect(context)
        stack.push_async_callback(gateway.close)
        yield GatewayUnderTest(
            adapter=terms.adapter, environment=terms.environment, configured=configured,
            gateway=gateway, context=context, methods=terms.methods, receiver=receiver,
            seconds_max=terms.seconds_max,
        )  # fmt: skip


async def run_gateway_cases(
    terms: GatewayTerms,
    *,
    cases: Sequence[Case[GatewayUnderTest]] = GATEWAY_CASES,
    on_result: Callable[[CaseResult], None] = lambda _result: None,
) -> ConformanceReport:
    """Run the cases.

    Raises:
        StartupError: the gateway cannot be connected.
    """
    async with under_test(terms) as it:
        capabilities = asdict(it.gateway.capabilities)
        results = await run_cases(
            cases, it, lacks=lambda name: not capabilities[name], on_result=on_result
        )
        about = f"{it.gateway.name} at {it.configured.address}"
    return ConformanceReport(about=about, capabilities=capabilities, cases=results)


async def _check_address(address: str) -> None:
    parts = urlsplit(address)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(CONNECT_SECONDS_MAX):
            _, writer = await asyncio.open_connection(parts.hostname, port)
            writer.close()
            await writer.wait_closed()
    except OSError as error:
        raise StartupError(
            f"Nothing answers at {address}. Check CAAS_GATEWAY_URL and that the gateway is running."
        ) from error
