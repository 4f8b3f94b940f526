"""The calls of the API that are served: method, path, parameters, and what each does."""

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from caas_simulators.stripe import (
    charges,
    checkout,
    customers,
    disputes,
    fraud,
    intents,
    payouts,
    reports,
    setups,
    webhooks,
)  # fmt: skip
from caas_simulators.stripe.parameters import EXPAND, LIST, TEXT, Form
from caas_simulators.stripe.refusals import Json, StripeRefusal
from caas_simulators.stripe.world import World

Do = Callable[[World, str, Json], Any]
OPERATIONS: Final = frozenset({"initiate", "capture", "void", "refund", "find", "settlements"})


class Call(msgspec.Struct, frozen=True):
    """One call: its parameters and what it does with the id in its path."""

    form: Form
    do: Do
    is_file: bool = False


def _new(form: Form, do: Callable[[World, Json], Json]) -> Call:
    return Call(form, lambda world, _, asked: do(world, asked))


def _one(kind: str, form: Form, do: Callable[[World, Json, Json], Json]) -> Call:
    param = {"payment_intent": "intent", "checkout.session": "session"}.get(kind, "id")
    return Call(
        form,
        lambda world, name, asked: do(world, world.store.get(kind, name, param=param), asked),
    )


def _get(kind: str) -> Call:
    return _one(kind, EXPAND, lambda _, one, __: one)


def _list(url: str, kind: str, form: Form) -> Call:
    equal = [name for name in form if name not in LIST]
    return Call(
        form,
        lambda world, _, asked: world.store.page(
            url, kind, asked, **{name: asked.get(name) for name in equal}
        ),
    )


def _updated(world: World, one: Json, asked: Json) -> Json:
    metadata = one["metadata"] | asked.pop("metadata", {})
    one |= asked | {"metadata": {name: value for name, value in metadata.items() if value}}
    return world.store.put(one)


def _disabled(world: World, one: Json, asked: Json) -> Json:
    del asked
    world.store.put(one | {"status": "disabled"})
    return {"id": one["id"], "object": one["object"], "deleted": True}


def _account(world: World, name: str, asked: Json) -> Json:
    del name, asked
    return {"id": world.settings.account, "object": "account", "charges_enabled": True,
            "country": "ES", "created": 1_700_000_000, "default_currency": "eur",
            "details_submitted": True, "email": None, "payouts_enabled": True,
            "type": "standard", "metadata": {}}  # fmt: skip


def _balance(world: World, name: str, asked: Json) -> Json:
    del name, asked
    return {"object": "balance", "livemode": world.settings.livemode, "available": [],
            "pending": []}  # fmt: skip


_PI, _SI, _CS = "/v1/payment_intents", "/v1/setup_intents", "/v1/checkout/sessions"
CALLS: Final[dict[tuple[str, str], Call]] = {
    ("GET", "/v1/account"): Call(EXPAND, _account),
    ("GET", "/v1/balance"): Call(EXPAND, _balance),
    ("POST", "/v1/customers"): _new(customers.CUSTOMER, customers.create_customer),
    ("GET", "/v1/customers"): _list("/v1/customers", "customer", customers.CUSTOMERS),
    ("GET", "/v1/customers/:"): _get("customer"),
    ("POST", "/v1/customers/:"): _one("customer", customers.CUSTOMER, _updated),
    ("DELETE", "/v1/customers/:"): _one("customer", EXPAND, customers.delete_customer),
    ("GET", "/v1/customers/:/payment_methods"): Call(
        customers.METHODS,
        lambda world, name, asked: world.store.page(
            f"/v1/customers/{name}/payment_methods", "payment_method", asked, customer=name
        ),
    ),
    ("POST", "/v1/payment_methods"): _new(customers.METHOD, customers.create_method),
    ("GET", "/v1/payment_methods/:"): _get("payment_method"),
    ("POST", "/v1/payment_methods/:/attach"): _one(
        "payment_method", customers.ATTACH,
        lambda world, one, asked: customers.attach(world, one, asked["customer"]),
    ),
    ("POST", "/v1/payment_methods/:/detach"): _one(
        "payment_method", EXPAND, lambda world, one, _: customers.detach(world, one)
    ),
    ("POST", _PI): _new(intents.CREATE, intents.create),
    ("GET", _PI): _list(_PI, "payment_intent", intents.INTENTS),
    ("GET", f"{_PI}/:"): _get("payment_intent"),
    ("POST", f"{_PI}/:"): _one("payment_intent", intents.UPDATE, _updated),
    ("POST", f"{_PI}/:/confirm"): _one("payment_intent", intents.CONFIRM, intents.confirm),
    ("POST", f"{_PI}/:/capture"): _one("payment_intent", intents.TAKE, intents.capture),
    ("POST", f"{_PI}/:/cancel"): _one("payment_intent", intents.CANCEL, intents.cancel),
    ("POST", _SI): _new(setups.CREATE, setups.create),
    ("GET", _SI): _list(_SI, "setup_intent", setups.SETUPS),
    ("GET", f"{_SI}/:"): _get("setup_intent"),
    ("POST", f"{_SI}/:"): _one("setup_intent", setups.UPDATE, _updated),
    ("POST", f"{_SI}/:/confirm"): _one("setup_intent", setups.CONFIRM, setups.confirm),
    ("POST", f"{_SI}/:/cancel"): _one("setup_intent", setups.CANCEL, setups.cancel),
    ("POST", _CS): _new(checkout.CREATE, checkout.create),
    ("GET", _CS): _list(_CS, "checkout.session", checkout.SESSIONS),
    ("GET", f"{_CS}/:"): _get("checkout.session"),
    ("POST", f"{_CS}/:/expire"): _one(
        "checkout.session", EXPAND, lambda world, one, _: checkout.expire(world, one)
    ),
    ("GET", "/v1/charges"): _list("/v1/charges", "charge", charges.CHARGES),
    ("GET", "/v1/charges/:"): _get("charge"),
    ("POST", "/v1/refunds"): _new(charges.REFUND, charges.create_refund),
    ("GET", "/v1/refunds"): _list("/v1/refunds", "refund", charges.REFUNDS),
    ("GET", "/v1/refunds/:"): _get("refund"),
    ("GET", "/v1/balance_transactions"): Call(payouts.BALANCE, payouts.movements),
    ("GET", "/v1/balance_transactions/:"): _get("balance_transaction"),
    ("GET", "/v1/payouts"): _list("/v1/payouts", "payout", payouts.PAYOUTS),
    ("GET", "/v1/payouts/:"): _get("payout"),
    ("GET", "/v1/radar/early_fraud_warnings"): _list(
        "/v1/radar/early_fraud_warnings", fraud.KIND, fraud.WARNINGS
    ),
    ("GET", "/v1/disputes"): _list("/v1/disputes", "dispute", disputes.DISPUTES),
    ("GET", "/v1/disputes/:"): _get("dispute"),
    ("POST", "/v1/disputes/:"): _one("dispute", disputes.RESPONSE, disputes.respond),
    ("GET", "/v1/events"): _list("/v1/events", "event", {**LIST, "type": TEXT}),
    ("GET", "/v1/events/:"): _get("event"),
    ("POST", "/v1/webhook_endpoints"): _new(webhooks.ENDPOINT, webhooks.create_endpoint),
    ("GET", "/v1/webhook_endpoints"): _list(
        "/v1/webhook_endpoints", webhooks.ENDPOINT_KIND, webhooks.ENDPOINTS
    ),
    ("GET", "/v1/webhook_endpoints/:"): _get(webhooks.ENDPOINT_KIND),
    ("DELETE", "/v1/webhook_endpoints/:"): _one(webhooks.ENDPOINT_KIND, EXPAND, _disabled),
    ("GET", "/v1/reporting/report_types/:"): Call(
        EXPAND, lambda world, name, _: reports.report_type(world, name)
    ),
    ("POST", "/v1/reporting/report_runs"): _new(reports.RUN, reports.order),
    ("GET", "/v1/reporting/report_runs/:"): _one(
        "reporting.report_run", EXPAND, lambda world, one, _: reports.look(world, one)
    ),
    ("GET", "/v1/files/:/contents"): Call(
        EXPAND, lambda world, name, _: reports.contents(world, name), is_file=True
    ),
}  # fmt: skip
_PATTERNS: Final = [
    (method, re.compile(path.replace(":", "([^/]+)")), call)
    for (method, path), call in CALLS.items()
]


def call_of(method: str, path: str) -> tuple[Call, str]:
    """Return what is called, and the id in the path.

    Raises:
        StripeRefusal: nothing is served there.
    """
    for served, pattern, call in _PATTERNS:
        matched = pattern.fullmatch(path)
        if matched is not None and served == method:
            return call, matched[1] if pattern.groups else ""
    message = f"Unrecognized request URL ({method}: {path})."
    raise StripeRefusal(message, status=404, stored=False)


def operation_of(method: str, path: str) -> str:
    """Return the name under which faults are scripted for a call; empty for any other."""
    if path.startswith("/v1/reporting") or path.endswith("/contents"):
        return "settlements"
    if path == "/v1/refunds" and method == "POST":
        return "refund"
    if not path.startswith((_PI, _SI, _CS)):
        return ""
    if method == "GET":
        return "find"
    last = path.rsplit("/", 1)[-1]
    return {"capture": "capture", "cancel": "void", "expire": "void"}.get(last, "initiate")
