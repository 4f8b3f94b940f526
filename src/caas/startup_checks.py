"""What is looked at once, before the platform takes its first call: does what it needs answer?

Seed: the External Systems of Diagram 1. A wrong address or password shows at the start, to whoever
starts the platform, and not at the first customer's payment.

Rules a change must keep: every look has a time limit; a look changes nothing at the other side; a
part that is there but unwell for a moment does not keep the platform from starting, because open
work must go on; no sentence repeats a password or a key.
"""

import asyncio
import secrets
from http import HTTPStatus
from typing import Final

import structlog

from caas.billing_database.configured_gateway import configured_gateway
from caas.billing_database.connection import Database
from caas.billing_database.invoices import InvoiceRows
from caas.billing_database.tax_rates import TaxRates
from caas.errors import StartupError
from caas.external_systems import mqtt_connection
from caas.external_systems.http import (
    GatewayFailure,
    NotSentError,
    OutcomeUnknownError,
    RefusedByPartnerError,
    UnknownReason,
)
from caas.external_systems.mqtt_packets import BrokerAddress, BrokerUnavailableError, Session
from caas.external_systems.payment_gateway import PaymentGateway
from caas.rules.market import Market, Seller
from caas.settings import IN_PROCESS_VEHICLES, Settings

LOOK_SECONDS_MAX: Final = 5.0
NO_TRANSACTION: Final = "caas-start-up"
NOT_LET_IN: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})

_log = structlog.get_logger()


async def check_broker(settings: Settings) -> None:
    """Connect to the vehicles' broker once, as somebody who leaves no session behind.

    Raises:
        StartupError: it does not answer, or does not let us in.
    """
    if settings.mqtt_url == IN_PROCESS_VEHICLES:
        return
    address = BrokerAddress.from_url(settings.mqtt_url)
    name = f"caas-start-up-{secrets.token_hex(4)}"
    session = Session(client_id=name, expiry_seconds=0, unhandled_max=1)
    try:
        async with asyncio.timeout(LOOK_SECONDS_MAX):
            connection = await mqtt_connection.connect(address, session, lambda *_: None)
            await connection.close()
    except (BrokerUnavailableError, TimeoutError) as error:
        because = error.sentence if isinstance(error, BrokerUnavailableError) else "It is silent."
        raise StartupError(
            f"The vehicles' broker at {address!r} cannot be used. {because} "
            "Check CAAS_MQTT_URL, its user and password, and that the broker is running."
        ) from error


def check_login(database: Database, settings: Settings) -> None:
    """Refuse a login that could undo the guards of the books: it is nobody's to serve with.

    Raises:
        StartupError: it could, and the settings do not say that this is development.
    """
    if database.login_too_strong is None:
        return
    if not settings.strong_login_allowed:
        raise StartupError(
            f"The database must not be used so: {database.login_too_strong}, and could undo every "
            "guard of the books. Let CAAS_DATABASE_URL name a login that is a member of caas_app "
            "and nothing else (docs/operations.md), or set CAAS_STRONG_DATABASE_LOGIN=allowed on a "
            "machine for development."
        )
    _log.warning("database.login_too_strong", because=database.login_too_strong)


async def check_database(database: Database, gateway: PaymentGateway) -> None:
    """Make sure that the payments of these books are at this gateway.

    Raises:
        StartupError: they are at another one, which this one knows nothing of.
    """
    kept = await configured_gateway(database, gateway.name)
    if kept != gateway.name:
        raise StartupError(
            f"The payments in the Billing Database are at the gateway '{kept}', and "
            f"CAAS_GATEWAY says '{gateway.name}', where nobody knows them. Set it back to "
            f"'{kept}', or give '{gateway.name}' a database of its own by CAAS_DATABASE_URL."
        )


async def check_market(database: Database, wanted: Market) -> str:
    """Make sure that the market has a tax rate for all that is sold, and sell in it from now on.

    Raises:
        StartupError: there is no such market, or it has no rate today.
    """
    rates = TaxRates(database)
    named = wanted.code or wanted.zone.key
    found = [it for it in await rates.markets() if named in (it.code, it.zone)]
    if len(found) != 1:
        raise StartupError(
            f"CAAS_MARKET names {named}, and there are {len(found)} markets of that name. Write "
            "the code of one behind the language, or add it: './caas taxes add-market'."
        )
    market = found[0].code
    missing = await rates.without_rate(market)
    if missing:
        raise StartupError(
            f"The market {market} has no tax rate for: {', '.join(missing)}. Nothing is sold "
            "there until './caas taxes change' has written one down."
        )
    await rates.sell_in(market)
    return market


async def check_seller(database: Database, seller: Seller) -> None:
    """Make sure that the series this seller numbers documents in are nobody else's.

    Raises:
        StartupError: another seller has issued in them.
    """
    other = await InvoiceRows(database).other_seller(seller.series, seller.vat_id)
    if other is not None:
        raise StartupError(
            f"The series of documents that CAAS_SELLER names are those of {other}. A series has "
            f"one seller: write behind the payment terms how those of {seller.vat_id} begin, "
            "such as 'N-'."
        )


async def check_gateway(gateway: PaymentGateway, settings: Settings) -> None:
    """Ask the payment gateway once for a transaction that does not exist.

    By our reference where it can be, because an empty list is a gateway's answer and nobody
    else's; how it words that an id is unknown is its own affair.

    Raises:
        StartupError: nobody answers there, it is no gateway, or it does not take our key.
    """
    try:
        async with asyncio.timeout(LOOK_SECONDS_MAX):
            await _ask_for_nothing(gateway)
    except (GatewayFailure, TimeoutError) as error:
        because = _what_is_wrong(error)
        if because is None:
            _log.warning("gateway.unwell_at_start", because=str(error))
            return
        raise StartupError(
            f"The payment gateway at {settings.gateway_url} cannot be used: {because}"
        ) from error


async def _ask_for_nothing(gateway: PaymentGateway) -> None:
    if gateway.capabilities.lookup_by_reference:
        await gateway.find_by_reference(NO_TRANSACTION)
        return
    try:
        await gateway.find(NO_TRANSACTION)
    except RefusedByPartnerError as refusal:
        if refusal.status != HTTPStatus.NOT_FOUND:
            raise


def _what_is_wrong(error: GatewayFailure | TimeoutError) -> str | None:
    """Return what to do about it, or None when the gateway is there and will be well again."""
    match error:
        case NotSentError():
            return (
                f"nobody answers there ({error.cause}). Check CAAS_GATEWAY_URL, the network, and "
                "that it is running."
            )
        case RefusedByPartnerError() if error.status in NOT_LET_IN:
            return f"it does not take our key (status {error.status}). Check CAAS_GATEWAY_API_KEY."
        case RefusedByPartnerError():
            return f"it does not know our calls (status {error.status}). Check CAAS_GATEWAY_URL."
        case OutcomeUnknownError() if error.reason is not UnknownReason.SERVER_ERROR:
            return f"what answers is no payment gateway ({error.reason}). Check CAAS_GATEWAY_URL."
        case TimeoutError():
            return (
                f"it did not answer within {LOOK_SECONDS_MAX:.0f} s. Check CAAS_GATEWAY_URL and "
                "that it is running."
            )
        case _:
            return None
