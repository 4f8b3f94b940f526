"""Settlement details reports of the simulated Adyen: made by batch, announced, and downloaded.

The columns are the documented ones, in their order; the rows are in the order of their payments.
Times are those of Amsterdam.
"""

import csv
import io
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from hmac import compare_digest
from typing import Final
from zoneinfo import ZoneInfo

from babel.numbers import get_currency_precision

from caas_simulators.adyen.modifications import MODIFICATION
from caas_simulators.adyen.payments import PAYMENT
from caas_simulators.adyen.world import Json, World
from caas_simulators.http_server import Answer, Request

REPORT: Final = "report"
FOLDER: Final = "/reports/download/MerchantAccount/"
CSV: Final = b"text/csv; charset=utf-8"
ZONE: Final = ZoneInfo("Europe/Amsterdam")
COLUMNS: Final = (
    "Company Account", "Merchant Account", "Psp Reference", "Merchant Reference", "Payment Method",
    "Creation Date", "TimeZone", "Type", "Modification Reference", "Gross Currency",
    "Gross Debit (GC)", "Gross Credit (GC)", "Exchange Rate", "Net Currency", "Net Debit (NC)",
    "Net Credit (NC)", "Commission (NC)", "Markup (NC)", "Scheme Fees (NC)", "Interchange (NC)",
    "Payment Method Variant", "Modification Merchant Reference", "Batch Number",
)  # fmt: skip
COMMISSION: Final = 10
"""What is kept of a settled payment, in minor units."""


def close_batch(world: World, number: int | None = None) -> Json:
    """Make the report of what was captured and refunded since the last batch, and announce it.

    With the number of an earlier batch it is made again, with what has come since: a correction.
    """
    made = list(world.store.some(REPORT))
    number = number or len(made) + 1
    name = f"settlement_detail_report_batch_{number}.csv"
    for one in tuple(_unreported(world)):
        world.store.put(one | {"batch": number, "batched": world.clock.now()})
    text = _text(world, number)
    report = world.store.put({"id": name, "object": REPORT, "text": text, "number": number})
    url = f"{world.public_url}{FOLDER}{world.settings.merchant_account}/{name}"
    about = {"id": name, "reference": "", "value": 0, "currency": "EUR"}
    world.report("REPORT_AVAILABLE", about, reason=url)
    return report | {"url": url}


def handle(world: World, request: Request) -> Answer:
    """Answer the download of a report."""
    pair = f"{world.settings.report_user}:{world.settings.report_password}".encode()
    wanted = b"Basic " + b64encode(pair)
    if not compare_digest(request.header(b"authorization").encode("latin-1"), wanted):
        return Answer(401, b"", CSV, ((b"www-authenticate", b'Basic realm="reports"'),))
    account, _, name = request.path.removeprefix(FOLDER).partition("/")
    report = world.store.find(REPORT, name)
    if report is None or account != world.settings.merchant_account:
        return Answer(404, b"", CSV)
    return Answer(200, report["text"].encode(), CSV)


def _unreported(world: World) -> Iterator[Json]:
    """Yield what was captured or refunded and is in no batch."""
    for payment in world.store.some(PAYMENT, batch=None):
        if payment["captured"]:
            yield payment
    for one in world.store.some(MODIFICATION, batch=None, done=True):
        if one["kind"] == "refunds":
            yield one


def _text(world: World, number: int) -> str:
    rows = [*_settled(world, number), *_refunded(world, number)]
    for currency in sorted({row["Net Currency"] for row in rows}):
        rows.append(_payout(world, number, currency, rows))
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _settled(world: World, number: int) -> Iterator[dict[str, str]]:
    for payment in reversed(tuple(world.store.some(PAYMENT, batch=number))):
        currency, gross = payment["currency"], payment["captured"]
        yield _row(world, payment, payment, "Settled") | {
            "Modification Reference": payment["capture"],
            "Gross Credit (GC)": _major(gross, currency),
            "Net Credit (NC)": _major(gross - COMMISSION, currency),
            "Commission (NC)": _major(COMMISSION, currency),
        }


def _refunded(world: World, number: int) -> Iterator[dict[str, str]]:
    for one in reversed(tuple(world.store.some(MODIFICATION, batch=number))):
        payment = world.store.get(PAYMENT, one["payment"])
        given = _major(one["value"], payment["currency"])
        yield _row(world, one, payment, "Refunded") | {
            "Modification Reference": one["id"], "Gross Debit (GC)": given,
            "Net Debit (NC)": given, "Modification Merchant Reference": one["reference"],
        }  # fmt: skip


def _payout(world: World, number: int, currency: str, rows: list[dict[str, str]]) -> dict[str, str]:
    """Return the row of what is paid out, or carried over while it is below zero."""
    net = sum(
        Decimal(row.get("Net Credit (NC)") or 0) - Decimal(row.get("Net Debit (NC)") or 0)
        for row in rows if row["Net Currency"] == currency
    )  # fmt: skip
    side = "Net Debit (NC)" if net >= 0 else "Net Credit (NC)"
    kind = "MerchantPayout" if net >= 0 else "Balancetransfer"
    latest = {"batch": number, "batched": world.clock.now()}
    return _standing(world, latest, currency, kind) | {side: str(abs(net))}


def _row(world: World, booked: Json, payment: Json, kind: str) -> dict[str, str]:
    """Return what a row of a payment says, booked as a part of its batch."""
    return _standing(world, booked, payment["currency"], kind) | {
        "Psp Reference": payment["id"], "Merchant Reference": payment["reference"],
        "Payment Method": "visa", "Gross Currency": payment["currency"], "Exchange Rate": "1",
        "Payment Method Variant": "visacredit",
    }  # fmt: skip


def _standing(world: World, booked: Json, currency: str, kind: str) -> dict[str, str]:
    made = datetime.fromtimestamp(booked["batched"], UTC).astimezone(ZONE)
    return {
        "Company Account": "CaaSSimulated", "Merchant Account": world.settings.merchant_account,
        "Creation Date": made.strftime("%Y-%m-%d %H:%M:%S"), "TimeZone": ZONE.key, "Type": kind,
        "Net Currency": currency, "Batch Number": str(booked["batch"]),
    }  # fmt: skip


def _major(minor: int, currency: str) -> str:
    places = get_currency_precision(currency)
    return str(Decimal(minor).scaleb(-places))
