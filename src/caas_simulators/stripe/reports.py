"""The Reports API: an itemized report is ordered, prepared after a while, and downloaded."""

import csv
import io
from datetime import UTC, datetime
from typing import Final

from caas_simulators.http_server import Answer
from caas_simulators.stripe.intents import WITHOUT_DECIMALS
from caas_simulators.stripe.parameters import EXPAND, INT, TEXT, Form
from caas_simulators.stripe.payouts import NEVER_TAKEN
from caas_simulators.stripe.refusals import Json, StripeRefusal, invalid, missing
from caas_simulators.stripe.world import World

TYPE: Final = "balance_change_from_activity.itemized.3"
RUN: Final[Form] = {
    **EXPAND, "report_type!": TEXT,
    "parameters": {"interval_start": INT, "interval_end": INT, "timezone": TEXT,
                   "columns": [TEXT], "currency": TEXT},
}  # fmt: skip
HALF_A_DAY: Final = 43_200
LOOKS_UNTIL_READY: Final = 1
COLUMNS: Final = (
    "balance_transaction_id", "created_utc", "available_on_utc", "currency", "gross", "fee", "net",
    "reporting_category", "source_id", "customer_facing_amount", "customer_facing_currency",
    "charge_id", "payment_intent_id", "payment_method_type", "automatic_payout_id",
    "automatic_payout_effective_at_utc", "description",
)  # fmt: skip
METADATA: Final = "payment_metadata["


def report_type(world: World, name: str) -> Json:
    """Return for which time there is data; it is prepared twice a day.

    Raises:
        StripeRefusal: there is no such report.
    """
    if name != TYPE:
        raise missing("report type", name)
    now = world.store.now()
    return {
        "id": TYPE, "object": "reporting.report_type", "livemode": world.settings.livemode,
        "data_available_start": 0, "data_available_end": now - now % HALF_A_DAY,
        "default_columns": list(COLUMNS[:9]), "name": "Itemized balance change from activity",
        "updated": now - now % HALF_A_DAY, "version": 3,
    }  # fmt: skip


def order(world: World, asked: Json) -> Json:
    """Order a report.

    Raises:
        StripeRefusal: there are no data of the interval, or no such column.
    """
    kind = report_type(world, asked["report_type"])
    given = asked.get("parameters", {})
    start, end = given.get("interval_start", 0), given.get("interval_end", 0)
    if start >= end:
        raise invalid("interval_end must be after interval_start.", "parameters[interval_end]")
    if end > kind["data_available_end"]:
        raise invalid("Data is not available up to interval_end.", "parameters[interval_end]")
    for column in given.get("columns", ()):
        if column not in COLUMNS and not column.startswith(METADATA):
            raise invalid(f"Unknown column: {column}", "parameters[columns]")
    return world.new(
        "reporting.report_run", "frr", report_type=TYPE, error=None, status="pending", result=None,
        succeeded_at=None, parameters=given, _looks=0,
    )  # fmt: skip


def look(world: World, run: Json) -> Json:
    """Return a report as far as it is; it is ready when it is looked at for a second time."""
    run["_looks"] += 1
    if run["status"] == "pending" and run["_looks"] > LOOKS_UNTIL_READY:
        content = _content(world, run["parameters"])
        file = world.new(
            "file", "file", expires_at=None, filename=f"{run['id']}.csv", links=None,
            purpose="finance_report_run", size=len(content), title=None, type="csv",
            url="", _content=content.decode(),
        )  # fmt: skip
        del file["livemode"]
        file["url"] = f"{world.public_url}/v1/files/{file['id']}/contents"
        run |= {"status": "succeeded", "succeeded_at": world.store.now(), "result": file}
    return world.store.put(run)


def contents(world: World, name: str) -> Answer:
    """Return the file of a report.

    Raises:
        StripeRefusal: there is no such file.
    """
    file = world.store.get("file", name, param="file")
    if "_content" not in file:
        raise missing("file", name)
    return Answer(200, file["_content"].encode(), b"text/csv")


def _content(world: World, given: Json) -> bytes:
    columns = given.get("columns") or list(COLUMNS[:9])
    start, end = given["interval_start"], given["interval_end"]
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(columns)
    for row in reversed(tuple(world.store.some("balance_transaction"))):
        if start <= row["created"] < end and row["type"] not in NEVER_TAKEN:
            values = _row(world, row)
            writer.writerow([values.get(column, "") for column in columns])
    return out.getvalue().encode()


def _row(world: World, row: Json) -> dict[str, str]:
    charge = _charge_of(world, row["source"])
    intent = world.store.find("payment_intent", charge["payment_intent"])
    metadata = {f"{METADATA}{name}]": value
                for name, value in (intent["metadata"] if intent else {}).items()}  # fmt: skip
    gross = major(row["amount"], row["currency"])
    return metadata | {
        "balance_transaction_id": row["id"], "created_utc": _text(row["created"]),
        "available_on_utc": _text(row["available_on"]), "currency": row["currency"],
        "gross": gross, "fee": major(row["fee"], row["currency"]),
        "net": major(row["net"], row["currency"]),
        "reporting_category": row["reporting_category"], "source_id": row["source"],
        "customer_facing_amount": gross, "customer_facing_currency": row["currency"],
        "charge_id": charge["id"], "payment_intent_id": charge["payment_intent"],
        "payment_method_type": "card",
    }  # fmt: skip


def _charge_of(world: World, source: str) -> Json:
    for kind in ("charge", "refund", "dispute"):
        found = world.store.find(kind, source)
        if found is not None:
            return found if kind == "charge" else world.store.get("charge", found["charge"])
    raise StripeRefusal(f"{source} moved nothing")


def _text(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def major(amount: int, currency: str) -> str:
    """Write an amount in the currency's main unit, as the report has it."""
    if currency in WITHOUT_DECIMALS:
        return str(amount)
    sign, units = ("-" if amount < 0 else ""), abs(amount)
    return f"{sign}{units // 100}.{units % 100:02}"
