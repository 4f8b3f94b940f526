"""Requests nobody should send: each is refused with a sentence, and not one row changes."""

import io
import json
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from caas.api.application import OPERATIONS
from caas.api.operation import Operation
from caas.rules.money import AMOUNT_MAX
from caas.rules.scopes import Scope
from tests.api.addresses import NOBODYS_ID, address
from tests.api.conftest import KEYS
from tests.bad_input.conftest import VIN, World, body_operations, refused

CALLERS = {entry.split(":")[1]: entry.split(":")[0] for entry in KEYS.split(",")}
NO_AMOUNTS = [0, -1, AMOUNT_MAX + 1, 2**63, 12.5, 0.1, "1299", "12,99", True, None, [], {},
              "١٢", float(10**30), -(2**70)]  # fmt: skip
INVALID = ("invalid_body", "malformed_request")


def amounts_in(world: World) -> list[tuple[str, str, Any]]:
    """Every place where an amount is given: method, path, and the body around it."""
    paid = {"subject": str(uuid4()), "customer": str(world.customer), "currency": "EUR"}
    deposit = {"customer": str(world.customer), "dealership": "Norte", "vin": VIN}
    return [
        *(
            ("POST", f"/v1/payments/{kind}", lambda amount: {**paid, "amount": amount})
            for kind in ("reservation", "final", "service", "subscription")
        ),
        ("POST", f"/v1/payments/{world.settled}/refunds",
         lambda amount: {"amount": amount, "reason": "desistimiento"}),
        ("POST", "/v1/orders",
         lambda amount: {**deposit, "deposit": {"amount": amount, "currency": "EUR"}}),
        ("PUT", f"/v1/vehicles/{VIN}",
         lambda amount: {"model": "Uno", "price": {"amount": amount, "currency": "EUR"}}),
        ("PUT", "/v1/services/heated-seats",
         lambda amount: {"name": "Heated seats", "kind": "one_time", "currency": "EUR",
                         "prices": [{"duration_days": 30, "amount": amount}]}),
    ]  # fmt: skip


@pytest.mark.parametrize("amount", NO_AMOUNTS, ids=repr)
async def test_what_is_no_amount_is_refused_wherever_it_is_given(
    world: World, amount: object
) -> None:
    for method, path, around in amounts_in(world):
        answer = await sent(world, method, path, around(amount))

        refused(answer, 422, "invalid_body", "card_number_refused")


@pytest.mark.parametrize("currency", ["XXX", "ZZZ", "eur", "EURO", "€", "", 978, None, "E\nR"])
async def test_what_is_no_currency_is_refused_wherever_it_is_given(
    world: World, currency: object
) -> None:
    for method, path, around in amounts_in(world):
        body = json.loads(json.dumps(around(1299)).replace('"EUR"', json.dumps(currency)))
        if "refunds" in path:
            continue

        answer = await sent(world, method, path, body)

        refused(answer, 422, "invalid_body", "unknown_currency", "currency_unknown")


async def test_an_amount_is_of_its_subject_and_no_other(world: World) -> None:
    """JPY has no minor unit: 12.99 EUR written as 1299 JPY would be a hundred times as much."""
    subject = (await world.doors.get(f"/v1/payments/{world.payment}")).json["subject"]
    for amount, currency in ((1299, "JPY"), (1299, "KWD"), (1300, "EUR")):
        body = {"subject": subject, "customer": str(world.customer), "amount": amount,
                "currency": currency, "payment_method": "pm_ok"}  # fmt: skip

        answer = await sent(world, "POST", "/v1/payments/service", body)

        assert answer.status in {409, 422}, answer.body
        refused(answer, answer.status, answer.json["code"])


async def sent(world: World, method: str, path: str, body: object, **more: Any) -> Any:
    """Send any JSON with a fresh key."""
    headers = {"idempotency-key": str(uuid4()), "content-type": "application/json"}
    return await world.doors.call(
        method, path, data=json.dumps(body).encode(), headers=headers | more
    )


@pytest.mark.parametrize(
    "operation",
    [operation for operation in OPERATIONS if "{" in operation.path and operation.method == "GET"],
    ids=lambda operation: operation.id,
)
async def test_what_nobody_has_is_not_found(world: World, operation: Operation) -> None:
    if operation.id in {"problemPage", "getProblem"} or operation.path.startswith("/problems"):
        answer = await world.doors.get("/problems/no_such_code", caller=None)
        assert answer.status == 404
        return

    answer = await world.doors.get(address(operation))

    refused(answer, 404, *CODES_OF_ABSENCE)


CODES_OF_ABSENCE = (
    "reconciliation_day_not_found", "reconciliation_run_not_found", "discrepancy_not_found",
    "document_not_found", "invoice_not_found", "no_billing_details",
    "not_found", "payment_not_found", "order_not_found", "customer_not_found", "no_such_payment",
    "vehicle_not_found", "service_not_found", "service_order_not_found", "no_such_order",
    "subscription_not_found", "billing_run_not_found", "unknown_payment", "no_such_service",
    "event_subscription_not_found",
    "no_such_vehicle", "no_such_customer", "no_such_subscription", "no_such_service_order",
    "no_such_billing_run", "no_such_route",
)  # fmt: skip


@pytest.mark.parametrize(
    "identifier",
    ["0", "-1", "null", "01a20737", "%00", "..%2f..%2fetc%2fpasswd", "a%0d%0aX-Injected:%201",
     "%e2%80%ae", "' or '1'='1", "{}", "%F0%9F%9A%97", "1e9", "x" * 3000],
)  # fmt: skip
async def test_what_cannot_be_an_id_is_refused_and_breaks_no_line(
    world: World, identifier: str
) -> None:
    for begins in ("/v1/payments/", "/v1/orders/", "/v1/customers/", "/v1/vehicles/",
                   "/v1/services/", "/v1/subscriptions/", "/v1/service-orders/",
                   "/v1/billing/runs/"):  # fmt: skip
        answer = await world.doors.get(begins + identifier)

        assert answer.status in {400, 404, 422}, (begins, answer.body)
        assert "x-injected" not in answer.headers
        refused(answer, answer.status, answer.json["code"])


BROKEN = [b"", b"{", b"}", b"null", b"[]", b'"text"', b"1", b"{'a': 1}", b"\xff\xfe", b"{}{}",
          b'{"a": NaN}', b'{"subject": "\\ud800"}', b"[" * 30_000, b'{"a":' * 10_000,
          b'{"amount": 1e400}', b'{"amount": 1, "amount": 2}', b"\x00",
          b"\xef\xbb\xbf{}"]  # fmt: skip


@pytest.mark.parametrize("body", BROKEN, ids=lambda body: repr(body[:20]))
async def test_a_body_that_is_none_is_refused_by_every_call(world: World, body: bytes) -> None:
    for operation in body_operations():
        if body in {b"", b"{}"} and not _needs_content(operation):
            continue
        headers = {"idempotency-key": str(uuid4()), "content-type": "application/json"}

        answer = await world.doors.call(
            operation.method, address(operation), data=body, headers=headers
        )

        assert answer.status in {400, 404, 422}, (operation.id, answer.body)
        refused(answer, answer.status, answer.json["code"])


def _needs_content(operation: Operation) -> bool:
    assert operation.body is not None
    return any(field.required for field in msgspec.structs.fields(operation.body.content))


async def test_ten_megabytes_are_refused_by_every_call_before_they_are_read(world: World) -> None:
    body = b'{"note": "' + b"x" * 10_000_000 + b'"}'
    for operation in body_operations():
        headers = {"idempotency-key": str(uuid4()), "content-type": "application/json",
                   "expect": "100-continue"}  # fmt: skip

        answer = await world.doors.call(
            operation.method, address(operation), data=io.BytesIO(body), headers=headers
        )

        refused(answer, 413, "body_too_large")


SCOPED = [operation for operation in OPERATIONS if operation.needs_key and operation.scopes]


@pytest.mark.parametrize("operation", SCOPED, ids=lambda operation: operation.id)
async def test_a_key_without_the_scope_is_refused_and_one_with_it_is_not(
    world: World, operation: Operation
) -> None:
    for scope, caller in CALLERS.items():
        answer = await world.doors.call(
            operation.method, address(operation), caller=caller,
            json=["no body of any call"] if operation.body else None,
            headers={"idempotency-key": str(uuid4())},
        )  # fmt: skip
        if scope == Scope.ANY or operation.scopes & set(scope.split("+")):
            assert answer.status != 403, (scope, answer.body)
        else:
            refused(answer, 403, "scope_missing")
            assert any(needed in answer.json["detail"] for needed in operation.scopes)


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer " + "k" * 42 + "x", "Bearer " + "k" * 300,
     "bearer\t" + "k" * 43, "Bearer " + "k" * 43 + ",", "Bearer null", "k" * 43],
)  # fmt: skip
async def test_no_valid_key_means_no_answer(world: World, authorization: str) -> None:
    for operation in OPERATIONS:
        if operation.needs_key:
            answer = await world.doors.call(
                operation.method, address(operation), caller=None,
                headers={"authorization": authorization},
            )  # fmt: skip
            refused(answer, 401, "unauthenticated")
            assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "given", [None, "", "short", "x" * 256, "with a space in it", "schlüssel-von-mir"]
)
async def test_a_post_without_a_proper_idempotency_key_is_refused(
    world: World, given: str | None
) -> None:
    body = {"subject": NOBODYS_ID, "customer": NOBODYS_ID, "amount": 1, "currency": "EUR"}
    headers = {} if given is None else {"idempotency-key": given}

    answer = await world.doors.call("POST", "/v1/payments/service", json=body, headers=headers)

    refused(answer, 400, "idempotency_key_missing", "idempotency_key_malformed")


RETURN_URLS = [
    "javascript:alert(1)", "data:text/html,<script>alert(1)</script>", "file:///etc/passwd",
    "//evil.example", "ftp://evil.example", "http:evil.example", " https://x.example", "https://",
    "https://x.example/\r\nSet-Cookie: a=b", "https://x.example/\x00", "HTTPS\\://x",
    "https://good.example@evil.example/", "https://good.example\\@evil.example/",
    'https://x.example/"><script>alert(1)</script>', "https://x.example/'onload='a",
    "https:///evil.example", "https://x.example:99999999/", "gopher://127.0.0.1:6379/_x",
    "https://ex\u202eample.com/", "https://x.example/" + "a" * 3000, "jar:http://x!/",
]  # fmt: skip


@pytest.mark.parametrize("url", RETURN_URLS, ids=lambda url: repr(url[:30]))
async def test_an_address_to_return_to_is_a_plain_one_of_the_web(world: World, url: str) -> None:
    """What stands in it is shown to the customer's browser, by us and by the gateway."""
    paid = {"subject": str(uuid4()), "customer": str(world.customer), "amount": 1299,
            "currency": "EUR", "return_url": url}  # fmt: skip
    for kind in ("reservation", "final", "service", "subscription"):
        answer = await sent(world, "POST", f"/v1/payments/{kind}", paid)

        refused(answer, 422, "invalid_body")


NO_NAMES = ["", "\x00", "a\r\nb", "a\tb", "\x1b[31m", "a\x7f", "a\x85b", "a\u2028b", "a\u202eb",
            "a\u2066b", "a\u200bb", "\ufeffa", "x" * 201, " ", "\u3000", "a\U000e0041"]  # fmt: skip
NAMES = ["José Ñandú", "محمد علي", "שרה כהן", "王小明", "O'Brien <b>", "=1+1", "🚗 Ana", "می‌خواهم",
         "👩‍🚒", "Zoë", "x" * 200]  # fmt: skip


@pytest.mark.parametrize("name", NO_NAMES, ids=ascii)
async def test_a_name_that_deceives_the_eye_or_breaks_a_line_is_refused(
    world: World, name: str
) -> None:
    """Text that turns its direction, or cannot be seen, shows operators a name that is not it."""
    customer = {"name": name, "email": "ana@example.com"}

    refused(await sent(world, "POST", "/v1/customers", customer), 422, "invalid_body")
    if len(name) < 200:
        email = {"name": "Ana", "email": f"a{name}b@example.com"}
        if name:
            refused(await sent(world, "POST", "/v1/customers", email), 422, "invalid_body")
        service = {"name": name, "kind": "one_time", "currency": "EUR",
                   "prices": [{"duration_days": 30, "amount": 1}]}  # fmt: skip
        refused(await sent(world, "PUT", "/v1/services/new", service), 422, "invalid_body")
        car = {"model": name, "price": {"amount": 1, "currency": "EUR"}}
        refused(await sent(world, "PUT", f"/v1/vehicles/{VIN}", car), 422, "invalid_body")
        refund = {"amount": 1, "reason": name}
        path = f"/v1/payments/{world.settled}/refunds"
        refused(await sent(world, "POST", path, refund), 422, "invalid_body")


@pytest.mark.parametrize("name", NAMES, ids=ascii)
async def test_a_name_of_any_script_is_kept_as_it_was_given(whole_world: World, name: str) -> None:
    made = await sent(whole_world, "POST", "/v1/customers", {"name": name, "email": "a@b.example"})

    assert made.status == 201, made.body
    assert made.json["name"] == name


@pytest.mark.parametrize(
    ("name", "value"),
    [("x-request-id", "a\x85b"), ("idempotency-key", "x" * 9000)],
)
async def test_odd_headers_are_refused_or_left_alone(world: World, name: str, value: str) -> None:
    answer = await world.doors.get("/v1/payments?limit=1", headers={name: value})

    assert answer.status in {200, 400, 431}
    assert value not in answer.headers.values()
