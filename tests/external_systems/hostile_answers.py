"""A corpus of answers that a broken, hijacked or careless gateway could give (F-G14).

Every one is served to a call that would have succeeded, had the answer been honest. None may end
as a success, and none as a decline.
"""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass

from tests.external_systems.gateway_answers import transaction
from tests.external_systems.scripted_server import http_answer

JSON = "application/json"
PROBLEM = "application/problem+json"
REQUIRED = (
    "id",
    "reference",
    "status",
    "amount",
    "currency",
    "captured_amount",
    "settled_amount",
    "refunded_amount",
    "created_at",
)
NOT_AMOUNTS = ("12500", 12500.5, True, None, [12500], {"value": 12500}, -12500, 0, 2**63, 10**400)
NOT_TEXTS: tuple[object, ...] = (
    7,
    None,
    True,
    [],
    {},
    "",
    "txn_1\n",
    "\x00",
    "a" * 300,
    "../x",
    "ñ",
)
NOT_STATUSES: tuple[object, ...] = (
    "AUTHORIZED",
    "Authorized",
    " authorized",
    "succeeded",
    "approved",
    "",
    None,
    1,
    [],
)
NOT_TIMES = ("yesterday", "2026-11-24", "2026-11-24T10:00:00", 1_764_000_000, None, "")


@dataclass(frozen=True)
class Hostile:
    """One answer, as bytes, and what is wrong with it."""

    what: str
    answer: bytes


def hostile_answers() -> list[Hostile]:
    """The whole corpus, as answers to initiating `REQUEST`."""
    return [
        *_spoiled_fields(),
        *_contradictions(),
        *_truncations(),
        *_not_json(),
        *_wrong_statuses(),
        *_false_declines(),
        *_broken_framing(),
    ]


def encoded(value: object) -> bytes:
    """JSON."""
    return json.dumps(value).encode()


def _created(what: str, body: bytes, content_type: str = JSON) -> Hostile:
    return Hostile(what, http_answer(body, status="201 Created", content_type=content_type))


def _spoiled_fields() -> Iterator[Hostile]:
    for name in REQUIRED:
        without = transaction()
        del without[name]
        yield _created(f"no {name}", encoded(without))
    spoilt = {
        "amount": NOT_AMOUNTS,
        "captured_amount": [it for it in NOT_AMOUNTS if it != 0],
        "settled_amount": [it for it in NOT_AMOUNTS if it != 0],
        "refunded_amount": [it for it in NOT_AMOUNTS if it != 0],
        "id": NOT_TEXTS,
        "reference": NOT_TEXTS,
        "currency": (*NOT_TEXTS, "eur", "EURO", "E1R", "USD", "EUR\n"),
        "status": NOT_STATUSES,
        "created_at": NOT_TIMES,
        "capture_before": [it for it in NOT_TIMES if it is not None],
        "hosted_page_url": ("javascript:alert(1)", "//evil", "https://a b", 7, "https://x\r\ny"),
        "decline_code": ("card_declined", 7, "a\nb", "x" * 100),
    }
    for name, values in spoilt.items():
        for value in values:
            yield _created(f"{name} {value!r:.40}", encoded(transaction(**{name: value})))


def _contradictions() -> Iterator[Hostile]:
    contradictions: dict[str, dict[str, object]] = {
        "another's reference": {"reference": "pay-2"},
        "our reference with a blank": {"reference": "pay-1 "},
        "our reference in capitals": {"reference": "PAY-1"},
        "one cent less": {"amount": 12_499},
        "one cent more": {"amount": 12_501},
        "the amount in whole euros": {"amount": 125},
        "the amount a hundredfold": {"amount": 1_250_000},
        "another currency": {"currency": "USD"},
        "a zero-decimal currency": {"currency": "JPY"},
        "more captured than asked": {"status": "capturing", "captured_amount": 12_501},
        "more refunded than captured": {"status": "refunded", "refunded_amount": 1},
        "more settled than asked": {"status": "settled", "settled_amount": 12_501},
        "authorized but captured": {"captured_amount": 12_500},
        "voided but captured": {"status": "voided", "captured_amount": 1},
    }
    for what, facts in contradictions.items():
        yield _created(what, encoded(transaction(**facts)))


def _truncations() -> Iterator[Hostile]:
    whole = encoded(transaction())
    for length in range(0, len(whole) - 1, 6):
        yield _created(f"the first {length} bytes", whole[:length])


def _not_json() -> Iterator[Hostile]:
    whole = encoded(transaction())
    bodies = {
        "nothing": b"",
        "null": b"null",
        "true": b"true",
        "a number": b"12500",
        "a string": b'"authorized"',
        "an empty object": b"{}",
        "a list": b"[" + whole + b"]",
        "an envelope": b'{"data":' + whole + b"}",
        "an error in a success": encoded({"error": {"code": "internal", "status": "authorized"}}),
        "a problem in a success": encoded({"code": "internal_error", "detail": "Broken."}),
        "two documents": whole + whole,
        "something behind it": whole + b"<!-- cached -->",
        "something before it": b")]}',\n" + whole,
        "a byte order mark": b"\xef\xbb\xbf" + whole,
        "UTF-16": whole.decode().encode("utf-16"),
        "Latin-1": encoded(transaction()).replace(b"txn_1", b"txn_\xf1"),
        "zero bytes behind it": whole + b"\x00" * 8,
        "gzip": gzip.compress(whole),
        "single quotes": whole.replace(b'"', b"'"),
        "comments": b"/* ok */" + whole,
        "a trailing comma": whole[:-1] + b",}",
        "NaN": whole.replace(b"12500", b"NaN"),
        "Infinity": whole.replace(b"12500", b"Infinity"),
        "a float that is whole": whole.replace(b"12500", b"12500.0"),
        "an exponent": whole.replace(b"12500", b"125e2"),
        "octal": whole.replace(b"12500", b"0012500"),
        "underscores": whole.replace(b"12500", b"12_500"),
        "ten thousand levels": b"[" * 10_000,
        "a deep field": whole[:-1] + b',"x":' + b"[" * 10_000 + b"}",
        "XML": b"<?xml version='1.0'?><transaction><status>authorized</status></transaction>",
        "form data": b"id=txn_1&reference=pay-1&status=authorized&amount=12500&currency=EUR",
        "a stack trace": b"Traceback (most recent call last):\n  File ...",
        "a megabyte and more": encoded(transaction(note="x" * (1 << 20))),
    }
    for what, body in bodies.items():
        yield _created(what, body)
    for content_type in ("text/html", "text/plain", "", PROBLEM, "application/octet-stream"):
        yield _created(f"an honest body called {content_type!r}", whole, content_type)
    login = b"<html><body>Please log in to the hotel's network</body></html>"
    yield _created("a captive portal", login, "text/html; charset=utf-8")


def _wrong_statuses() -> Iterator[Hostile]:
    statuses = [202, 203, 204, 205, 206, 226, 300, 301, 302, 303, 304, 307, 308, 400, 401, 403]
    statuses += [404, 405, 408, 409, 410, 413, 415, 418, 421, 425, 451, 500, 501, 502, 503, 504]
    statuses += [507, 520, 522, 524, 599]
    bodies = (
        (encoded(transaction()), JSON),
        (encoded(transaction(status="failed", decline_code="card_declined")), JSON),
        (b"<html><h1>nginx</h1></html>", "text/html"),
    )
    for status in statuses:
        for body, content_type in bodies:
            answer = http_answer(body, status=f"{status} Whatever", content_type=content_type)
            yield Hostile(f"{status} with {body[:24]!r}", answer)


def _false_declines() -> Iterator[Hostile]:
    failed = transaction(status="failed", decline_code="card_declined")
    for status in ("200 OK", "201 Created"):
        yield Hostile(f"failed in a {status}", http_answer(encoded(failed), status=status))
    bodies: dict[str, tuple[bytes, str]] = {
        "nothing": (b"", JSON),
        "HTML": (b"<h1>Payment Required</h1>", "text/html"),
        "a problem": (encoded({"code": "card_declined", "detail": "Declined."}), PROBLEM),
        "a bare code": (encoded({"decline_code": "card_declined"}), JSON),
        "no code": (encoded(failed | {"decline_code": None}), JSON),
        "an empty code": (encoded(failed | {"decline_code": ""}), JSON),
        "our bill unpaid": (encoded({"error": "quota exceeded, please upgrade"}), JSON),
        "an authorized one": (encoded(transaction()), JSON),
        "a pending one": (encoded(transaction(status="pending")), JSON),
        "a voided one": (encoded(transaction(status="voided")), JSON),
        "another's": (encoded(failed | {"reference": "pay-2"}), JSON),
        "another amount": (encoded(failed | {"amount": 1}), JSON),
        "another currency": (encoded(failed | {"currency": "USD"}), JSON),
        "money in it": (encoded(failed | {"captured_amount": 12_500}), JSON),
        "half": (encoded(failed)[:-20], JSON),
        "called HTML": (encoded(failed), "text/html"),
    }
    for what, (body, content_type) in bodies.items():
        answer = http_answer(body, status="402 Payment Required", content_type=content_type)
        yield Hostile(f"402 with {what}", answer)


def _broken_framing() -> Iterator[Hostile]:
    whole = encoded(transaction())
    head = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n"
    length = b"Content-Length: %d\r\n"
    yield Hostile("a length too long", head + length % (len(whole) + 1) + b"\r\n" + whole)
    yield Hostile("a length too short", head + length % (len(whole) - 1) + b"\r\n" + whole)
    yield Hostile("two lengths", head + length % len(whole) + length % 3 + b"\r\n" + whole)
    yield Hostile("a negative length", head + b"Content-Length: -5\r\n\r\n" + whole)
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n"
    yield Hostile("a chunk cut", chunked + b"%x\r\n" % (len(whole) + 9) + whole)
    yield Hostile("no last chunk", chunked + b"%x\r\n" % len(whole) + whole + b"\r\n")
    yield Hostile("a chunk of nonsense", chunked + b"zz\r\n" + whole)
    yield Hostile("no framing, and cut", head + b"\r\n" + whole[:-1])
    yield Hostile("no HTTP at all", whole)
    yield Hostile("another protocol", b"220 mail.example ESMTP\r\n")
    yield Hostile("TLS where none was asked", b"\x15\x03\x01\x00\x02\x02\x28")
    yield Hostile("hung up at once", b"")
