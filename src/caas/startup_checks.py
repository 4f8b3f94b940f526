"""Checks at startup that the database, the gateway and the broker are usable.

They are the External Systems of Diagram 1. A wrong address or password fails at startup instead of
at the first payment.

Rules a change must keep: every check has a time limit and changes nothing in the external system; a
system that was used before and is away now does not prevent the start, because everything else must
go on (decision 240); no message contains a password or key.
"""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from enum import StrEnum
from http import HTTPStatus
from typing import Final, assert_never

import msgspec
import structlog

from caas.billing_database.connection import Database
from caas.billing_database.gateway_calls import (
    gateway_account,
    gateways_of_payments,
    unfinished_payments,
)
from caas.billing_database.invoices import InvoiceRows
from caas.billing_database.ota_commands import has_acknowledgements
from caas.billing_database.tax_rates import TaxRates
from caas.errors import StartupError
from caas.external_systems import mqtt_connection
from caas.external_systems.gateway_amounts import TakenAmounts
from caas.external_systems.http import (
    GatewayFailure,
    NotSentError,
    OutcomeUnknownError,
    RefusedByPartnerError,
    UnknownReason,
)
from caas.external_systems.mqtt_packets import (
    BrokerAddress,
    BrokerRefusedError,
    BrokerUnavailableError,
    MqttSession,
)
from caas.external_systems.payment_gateway import PaymentGateway
from caas.gateway_settings import ACCESS_NAMES, BY_MARKET, KEPT, AccessNames, own_prefix
from caas.rules.gateway_routes import GatewayRoutes
from caas.rules.market import Market, Seller
from caas.settings import IN_PROCESS_VEHICLES, Settings

LOOK_SECONDS_MAX: Final = 5.0
NO_TRANSACTION: Final = "caas-start-up"
NOT_LET_IN: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})

_log = structlog.get_logger()


class GatewayUse(StrEnum):
    """What a gateway is needed for."""

    NEW_PAYMENTS = "new payments"
    FALLBACK = "fallback"
    KEPT = "kept"


class CheckedGateway(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway as a start checks it; `names` are the settings that messages point to."""

    gateway: PaymentGateway
    address: str
    use: GatewayUse = GatewayUse.NEW_PAYMENTS
    names: AccessNames = ACCESS_NAMES


def use_of(gateway: str, of_new_payments: str, routes: GatewayRoutes) -> GatewayUse:
    """Return what a gateway is needed for; the fallback may be a market's own as well."""
    if gateway == of_new_payments or gateway in routes.by_market.values():
        return GatewayUse.NEW_PAYMENTS
    return GatewayUse.FALLBACK if gateway == routes.fallback else GatewayUse.KEPT


async def check_broker(database: Database, mqtt_url: str) -> None:
    """Connect to the vehicles' broker once with a clean session.

    Raises:
        StartupError: it rejects the login; or it does not respond, and no vehicle ever answered.
    """
    if mqtt_url == IN_PROCESS_VEHICLES:
        return
    address = BrokerAddress.from_url(mqtt_url)
    name = f"caas-start-up-{secrets.token_hex(4)}"
    session = MqttSession(client_id=name, expiry_seconds=0, unhandled_max=1)
    try:
        async with asyncio.timeout(LOOK_SECONDS_MAX):
            connection = await mqtt_connection.connect(address, session, lambda *_: None)
            await connection.close()
    except (BrokerUnavailableError, TimeoutError) as error:
        because = (
            error.sentence if isinstance(error, BrokerUnavailableError) else "It does not respond."
        )
        if not isinstance(error, BrokerRefusedError) and await has_acknowledgements(database):
            _log.warning("broker.unavailable_at_start", because=because)
            return
        raise StartupError(
            f"The vehicles' broker at {address!r} cannot be used. {because} Check "
            "CAAS_MQTT_URL, its user and password, and that the broker is running."
        ) from error


def check_login(database: Database, settings: Settings) -> None:
    """Reject a database login that could bypass the guards.

    Raises:
        StartupError: it could, and the settings do not allow it.
    """
    if database.login_too_strong is None:
        return
    if not settings.strong_login_allowed:
        raise StartupError(
            f"The database login is too strong: {database.login_too_strong}, and "
            "could bypass every guard. Set CAAS_DATABASE_URL to a login that is "
            "only a member of caas_app (docs/operations.md), or set "
            "CAAS_STRONG_DATABASE_LOGIN=allowed on a development machine."
        )
    _log.warning("database.login_too_strong", because=database.login_too_strong)


async def check_database(database: Database, configured: Sequence[str]) -> None:
    """Check that the gateway of every stored payment is configured.

    Raises:
        StartupError: a gateway with payments is not.
    """
    missing = [name for name in await gateways_of_payments(database) if name not in configured]
    if missing:
        raise StartupError(" ".join([await _not_configured(database, it) for it in missing]))


async def _not_configured(database: Database, name: str) -> str:
    unfinished = await unfinished_payments(database, name)
    return (
        f"The Billing Database has payments at the gateway '{name}', of which {unfinished} are "
        f"not at rest, but '{name}' is not configured. Add '{name}' to {KEPT}, with its settings "
        f"{own_prefix(name)}URL, {own_prefix(name)}API_KEY and {own_prefix(name)}WEBHOOK_SECRETS."
    )


async def check_market(database: Database, wanted: Market) -> str:
    """Check that the market has tax rates for everything sold, and select it.

    Raises:
        StartupError: the market is unknown or lacks a current rate.
    """
    rates = TaxRates(database)
    named = wanted.code or wanted.zone.key
    found = [it for it in await rates.markets() if named in (it.code, it.zone)]
    if len(found) != 1:
        raise StartupError(
            f"CAAS_MARKET is {named}, which matches {len(found)} markets. Add a "
            "market code after the language, or add the market with './caas taxes "
            "add-market'."
        )
    market = found[0].code
    missing = await rates.without_rate(market)
    if missing:
        raise StartupError(
            f"The market {market} has no tax rate for: {', '.join(missing)}. Add it "
            "with './caas taxes change'; until then nothing can be sold there."
        )
    await rates.sell_in(market)
    return market


async def check_routes(
    database: Database, routes: GatewayRoutes, amounts: Mapping[str, TakenAmounts], *, home: str
) -> None:
    """Check that markets with a gateway of their own are markets, and that it takes their currency.

    `amounts` is what each gateway takes, that of new payments first; it serves the market `home`
    unless a route does.

    Raises:
        StartupError: a market is unknown, or its gateway does not take its currency.
    """
    markets = await TaxRates(database).markets()
    known = {it.code: it.currency for it in markets}
    unknown = [market for market in routes.by_market if market not in known]
    if unknown:
        raise StartupError(
            f"{BY_MARKET} names unknown markets: {', '.join(unknown)}. './caas taxes "
            "markets' lists the markets."
        )
    for market, gateway in ({home: next(iter(amounts))} | dict(routes.by_market)).items():
        if not amounts[gateway].take_currency(known[market]):
            raise StartupError(
                f"The payments of the market {market} go to the gateway '{gateway}', which does "
                f"not take its currency, {known[market]}. Name a gateway that does in {BY_MARKET}."
            )


async def check_seller(database: Database, seller: Seller) -> None:
    """Check that no other seller uses this seller's document series.

    Raises:
        StartupError: another seller issued documents in them.
    """
    other = await InvoiceRows(database).other_seller(seller.series, seller.vat_id)
    if other is not None:
        raise StartupError(
            f"The document series of CAAS_SELLER belong to {other}. A series has "
            f"one seller: add a prefix for {seller.vat_id} after the payment terms, "
            "such as 'N-'."
        )


async def check_account(database: Database, checked: CheckedGateway) -> None:
    """Check that the gateway's account and mode are those of the stored payments.

    Raises:
        StartupError: the credentials are of another account, or of the other mode; or they are
            refused by a gateway that takes new payments.
    """
    gateway = checked.gateway
    try:
        async with asyncio.timeout(LOOK_SECONDS_MAX):
            account = await gateway.account()
    except (GatewayFailure, TimeoutError) as error:
        because = _what_is_wrong(error, checked.names)
        if because is None or await _may_start_without(database, checked, error):
            _warn_of(gateway, because or str(error))
            return
        raise StartupError(
            f"The account of the gateway '{gateway.name}' cannot be read: {because}"
        ) from error
    if account is None:
        return
    kept = await gateway_account(database, gateway.name, account)
    if kept != account:
        raise StartupError(
            f"The payments at the gateway '{gateway.name}' are in the account {kept}, but its API "
            f"key is of {account}. Use the key of {kept}, or another database."
        )


async def check_gateway(database: Database, checked: CheckedGateway) -> None:
    """Query a payment gateway for a transaction that does not exist.

    The query uses our reference where possible, because an empty list is an unambiguous response;
    the wording of an unknown id differs between gateways. What a kept gateway does not answer stays
    to be done and opens cases, so it never prevents the start. The others do not when they cannot
    be reached and have payments, because their address was right before; the fallback not even
    then, because only the outage of another gateway needs it.

    Raises:
        StartupError: there is no response, no gateway, or it rejects our key.
    """
    try:
        async with asyncio.timeout(LOOK_SECONDS_MAX):
            await _ask_for_nothing(checked.gateway)
    except (GatewayFailure, TimeoutError) as error:
        because = _what_is_wrong(error, checked.names)
        if because is None or await _may_start_without(database, checked, error):
            _warn_of(checked.gateway, because or str(error))
            return
        raise StartupError(
            f"The payment gateway '{checked.gateway.name}' at {checked.address} cannot be used: "
            f"{because}"
        ) from error


async def _may_start_without(
    database: Database, checked: CheckedGateway, error: GatewayFailure | TimeoutError
) -> bool:
    match checked.use:
        case GatewayUse.KEPT:
            return True
        case GatewayUse.FALLBACK:
            return _is_away(error)
        case GatewayUse.NEW_PAYMENTS:
            used = await gateways_of_payments(database)
            return _is_away(error) and checked.gateway.name in used
    assert_never(checked.use)


def _is_away(error: GatewayFailure | TimeoutError) -> bool:
    match error:
        case NotSentError() | TimeoutError():
            return True
        case OutcomeUnknownError():
            return error.reason in {UnknownReason.TIMED_OUT, UnknownReason.CUT}
        case _:
            return False


def _warn_of(gateway: PaymentGateway, because: str) -> None:
    _log.warning("gateway.unavailable_at_start", gateway=gateway.name, because=because)


async def _ask_for_nothing(gateway: PaymentGateway) -> None:
    if not gateway.capabilities.lookup_by_id:
        await gateway.account()
        return
    if gateway.capabilities.lookup_by_reference:
        await gateway.find_by_reference(NO_TRANSACTION, customer_reference=NO_TRANSACTION)
        return
    try:
        await gateway.find(NO_TRANSACTION)
    except RefusedByPartnerError as refusal:
        if refusal.status != HTTPStatus.NOT_FOUND:
            raise


def _what_is_wrong(error: GatewayFailure | TimeoutError, names: AccessNames) -> str | None:
    """Return the problem and its fix; None if the gateway is only temporarily unavailable."""
    match error:
        case NotSentError():
            return (
                f"no response ({error.cause}). Check {names.url}, the network, "
                "and that it is running."
            )
        case RefusedByPartnerError() if error.status in NOT_LET_IN:
            return f"it rejects our key (status {error.status}). Check {names.api_key}."
        case RefusedByPartnerError():
            return f"it does not support our requests (status {error.status}). Check {names.url}."
        case OutcomeUnknownError() if error.reason is not UnknownReason.SERVER_ERROR:
            return f"it is not a payment gateway ({error.reason}). Check {names.url}."
        case TimeoutError():
            return (
                f"no response within {LOOK_SECONDS_MAX:.0f} s. Check "
                f"{names.url} and that it is running."
            )
        case _:
            return None
