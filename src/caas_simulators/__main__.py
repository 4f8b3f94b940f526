"""`python -m caas_simulators gateway|partners|stripe|adyen`: start one simulator as a process.

`--held` reads more arguments from stdin and ends with it (`starter`).

Rules a change must keep: once it listens it prints one line of JSON with its address for its
starter, and nothing else; it ends at SIGTERM or SIGINT.
"""

import argparse
import gc
import json
import sys
from pathlib import Path

import msgspec
import uvloop

from caas_simulators import order_partners, payment_gateway
from caas_simulators.adyen import server as adyen_server
from caas_simulators.adyen.world import AdyenSettings
from caas_simulators.gateway_store import Terms
from caas_simulators.gateway_world import GatewaySettings
from caas_simulators.journal import JournalInUseError
from caas_simulators.partner_world import PartnerSettings
from caas_simulators.simulated_time import REPORTING_ZONE
from caas_simulators.starter import HELD, arguments_given, stop_requested
from caas_simulators.stripe import server as stripe_server
from caas_simulators.stripe.world import StripeSettings
from caas_simulators.webhook_sender import Target


def main(arguments: list[str] | None = None) -> int:
    """Run the named simulator until it is stopped."""
    given = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args(arguments_given(given))
    options.held = HELD in given
    gc.set_threshold(200_000, 20, 100)  # Stored records are long-lived: collect garbage rarely.
    programs = {"gateway": _run_gateway, "stripe": _run_stripe, "adyen": _run_adyen}
    run = programs.get(options.simulator, _run_partners)
    try:
        uvloop.run(run(options))
    except JournalInUseError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


async def _run_gateway(options: argparse.Namespace) -> None:
    stopped = stop_requested(held=options.held)
    async with payment_gateway.running(
        gateway_settings(options), host=options.host, port=options.port
    ) as (server, _world):
        _say_where(server.url)
        await stopped.wait()


async def _run_stripe(options: argparse.Namespace) -> None:
    stopped = stop_requested(held=options.held)
    async with stripe_server.running(
        stripe_settings(options), host=options.host, port=options.port
    ) as (server, _stripe):
        _say_where(server.url)
        await stopped.wait()


async def _run_adyen(options: argparse.Namespace) -> None:
    stopped = stop_requested(held=options.held)
    async with adyen_server.running(
        adyen_settings(options), host=options.host, port=options.port
    ) as (server, _adyen):
        _say_where(server.url)
        await stopped.wait()


async def _run_partners(options: argparse.Namespace) -> None:
    stopped = stop_requested(held=options.held)
    async with order_partners.running(
        partner_settings(options), host=options.host, port=options.port
    ) as (server, _world):
        _say_where(server.url)
        await stopped.wait()


def _say_where(url: str) -> None:
    sys.stdout.write(json.dumps({"url": url}) + "\n")
    sys.stdout.flush()


def gateway_settings(options: argparse.Namespace) -> GatewaySettings:
    """Return the settings of a gateway from the command line."""
    terms = {
        field.name: getattr(options, field.name)
        for field in msgspec.structs.fields(Terms)
        if getattr(options, field.name) is not None
    }
    return GatewaySettings(
        api_keys=frozenset(options.api_key or ["sk_simulated"]),
        public_url=options.public_url,
        merchant=options.merchant,
        seed=options.seed,
        time_scale=options.time_scale,
        zone=options.zone,
        terms=Terms(**terms),
        webhooks=Target(options.webhook_url, options.webhook_secret, options.webhook_type),
        state_file=options.state_file,
        control=options.control,
    )


def stripe_settings(options: argparse.Namespace) -> StripeSettings:
    """Return the settings of the simulated Stripe from the command line."""
    return StripeSettings(
        api_keys=tuple(options.api_key or ["sk_test_simulated"]),
        public_url=options.public_url,
        merchant=options.merchant,
        seed=options.seed,
        time_scale=options.time_scale,
        webhook_url=options.webhook_url,
        webhook_secrets=options.webhook_secret,
        requests_a_second=options.requests_a_second,
        folder=options.state_file,
        control=options.control,
    )


def adyen_settings(options: argparse.Namespace) -> AdyenSettings:
    """Return the settings of the simulated Adyen from the command line."""
    return AdyenSettings(
        api_keys=tuple(options.api_key or ["AQE-simulated"]),
        merchant_account=options.merchant_account,
        public_url=options.public_url,
        merchant=options.merchant,
        seed=options.seed,
        time_scale=options.time_scale,
        webhook_url=options.webhook_url,
        hmac_keys=options.webhook_secret,
        modification_seconds=options.modification_seconds,
        folder=options.state_file,
        control=options.control,
    )


def partner_settings(options: argparse.Namespace) -> PartnerSettings:
    """Return the settings of the partners from the command line."""
    return PartnerSettings(
        tokens=frozenset(options.token or ["sk_simulated"]),
        seed=options.seed,
        time_scale=options.time_scale,
        build_seconds=options.build_seconds,
        delivery_seconds=options.delivery_seconds,
        key_lifetime_seconds=options.key_lifetime_seconds,
        factory_webhooks=Target(options.factory_webhook_url, options.webhook_secret),
        transport_webhooks=Target(options.transport_webhook_url, options.webhook_secret),
        fleet_url=options.fleet_url,
        state_file=options.state_file,
        control=options.control,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="caas_simulators", description=__doc__)
    simulators = parser.add_subparsers(dest="simulator", required=True)
    gateway = simulators.add_parser("gateway", help="the payment gateway and its bank")
    _add_gateway(gateway)
    stripe = simulators.add_parser("stripe", help="Stripe's API, its pages and its bank")
    _add_stripe(stripe)
    adyen = simulators.add_parser("adyen", help="Adyen's API and its pages")
    _add_adyen(adyen)
    partners = simulators.add_parser("partners", help="factory, registration and transport")
    _add_partners(partners)
    return parser


def _add_gateway(gateway: argparse.ArgumentParser) -> None:
    _add_common(gateway)
    gateway.add_argument("--api-key", action="append", help="accepted key (repeat for several)")
    gateway.add_argument("--public-url", help="where customers reach the hosted pages")
    gateway.add_argument("--merchant", default="CaaS", help="the name customers pay to")
    gateway.add_argument("--zone", default=REPORTING_ZONE, help="time zone of the report's days")
    gateway.add_argument("--webhook-url", help="where webhooks go")
    gateway.add_argument("--webhook-type", action="append", default=[], help="wanted type")
    for field in msgspec.structs.fields(Terms):
        kind = int if isinstance(field.default, int) else float
        gateway.add_argument(f"--{field.name.replace('_', '-')}", type=kind)


def _add_stripe(stripe: argparse.ArgumentParser) -> None:
    _add_common(stripe)
    stripe.add_argument("--api-key", action="append", help="accepted key (repeat for several)")
    stripe.add_argument("--public-url", help="where customers reach the hosted pages")
    stripe.add_argument("--merchant", default="CaaS", help="the name customers pay to")
    stripe.add_argument("--webhook-url", help="where all events go, besides the endpoints")
    stripe.add_argument(
        "--requests-a-second", type=float, default=StripeSettings().requests_a_second,
        help="more of them are refused with 429",
    )  # fmt: skip


def _add_adyen(adyen: argparse.ArgumentParser) -> None:
    _add_common(adyen)
    known = AdyenSettings()
    adyen.add_argument("--api-key", action="append", help="accepted key (repeat for several)")
    adyen.add_argument("--merchant-account", default=known.merchant_account)
    adyen.add_argument("--public-url", help="where customers reach the payment links")
    adyen.add_argument("--merchant", default="CaaS", help="the name customers pay to")
    adyen.add_argument("--webhook-url", help="where webhooks go")
    adyen.add_argument(
        "--modification-seconds", type=float, default=known.modification_seconds,
        help="how long a capture, cancel or refund takes",
    )  # fmt: skip


def _add_partners(partners: argparse.ArgumentParser) -> None:
    _add_common(partners)
    partners.add_argument("--token", action="append", help="accepted token (repeat for several)")
    partners.add_argument("--factory-webhook-url", help="where vehicle.ready goes")
    partners.add_argument("--transport-webhook-url", help="where delivery.completed goes")
    partners.add_argument("--fleet-url", help="control plane of the vehicles: gets finished cars")
    partners.add_argument("--build-seconds", type=float, default=PartnerSettings().build_seconds)
    partners.add_argument(
        "--delivery-seconds", type=float, default=PartnerSettings().delivery_seconds
    )
    partners.add_argument(
        "--key-lifetime-seconds", type=float, default=PartnerSettings().key_lifetime_seconds
    )


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--seed", type=int, help="the same seed gives the same ids and faults")
    parser.add_argument("--time-scale", type=float, default=1.0, help="spans are divided by it")
    parser.add_argument(
        "--state-file", type=Path, help="journal (stripe: folder) that survives a restart"
    )
    parser.add_argument("--webhook-secret", action="append", default=[], help="whsec_...")
    parser.add_argument(
        "--control",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="serve the control plane under /_control/",
    )


if __name__ == "__main__":
    sys.exit(main())
