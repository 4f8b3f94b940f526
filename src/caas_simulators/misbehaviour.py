"""Applies a scripted fault to a connection.

Rules a change must keep: what happens before and after the effect is as `faults.ACTION_FIELDS`
says; a hang-up aborts the connection and never closes it in order; without a fault nothing here
runs.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import msgspec

from caas_simulators.faults import HANG_SECONDS_MAX, Action
from caas_simulators.http_server import Answer, Connection, problem, rendered

BAD_GATEWAY = 502
HTML = b"text/html; charset=utf-8"
HTML_ERROR = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
HTML_PAGE = b"<html><body><h1>Scheduled maintenance</h1></body></html>"


async def misbehave(
    connection: Connection,
    action: Action,
    apply: Callable[[], Answer],
    webhooks_delivered: Callable[[], Awaitable[None]],
) -> Answer | None:
    """Apply the fault around `apply`; return None if no response may follow."""
    if not await _before(connection, action):
        return None
    if action.status is not None and not action.apply_first:
        return _scripted(action, action.status)
    answer = apply()
    if action.webhook_before_answer:
        await webhooks_delivered()
    if not await _after(connection, action):
        return None
    if action.status is not None:
        return _scripted(action, action.status)
    if action.truncated_body:
        _send_half(connection, answer)
        return None
    return _distorted(answer, action)


async def _before(connection: Connection, action: Action) -> bool:
    await asyncio.sleep(action.latency_ms / 1000)
    if action.hang_before_apply is not None:
        await _hang(connection, action.hang_before_apply)
        return False
    if action.drop_connection_before:
        connection.transport.abort()
        return False
    return True


async def _after(connection: Connection, action: Action) -> bool:
    await asyncio.sleep(action.latency_after_ms / 1000)
    if action.hang_after_apply is not None:
        await _hang(connection, action.hang_after_apply)
        return False
    if action.drop_connection_after:
        connection.transport.abort()
        return False
    return True


async def _hang(connection: Connection, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(connection.closed.wait(), min(seconds, HANG_SECONDS_MAX))
    connection.transport.abort()


def _scripted(action: Action, status: int) -> Answer:
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if action.retry_after is not None:
        headers = ((b"retry-after", str(action.retry_after).encode()),)
    if action.body is not None:
        return Answer(status, action.body.encode(), headers=headers)
    if status == BAD_GATEWAY:
        return Answer(status, HTML_ERROR, HTML, headers)
    answer = problem(status, action.code, "This answer was scripted.")
    return Answer(status, answer.body, answer.content_type, headers)


def _send_half(connection: Connection, answer: Answer) -> None:
    whole = rendered(answer)
    connection.transport.write(whole[: len(whole) - len(answer.body) // 2 - 1])
    connection.transport.close()


def _distorted(answer: Answer, action: Action) -> Answer:
    if action.html_200:
        return Answer(200, HTML_PAGE, HTML)
    if not (action.wrong_transaction or action.wrong_amount or action.wrong_currency):
        return answer
    reported = msgspec.json.decode(answer.body)
    if action.wrong_transaction:
        reported["id"], reported["reference"] = "txn_of_somebody_else", "reference-of-somebody-else"
    if action.wrong_amount:
        reported["amount"] = reported.get("amount", 0) + 1
    if action.wrong_currency:
        reported["currency"] = "XXX"
    body = msgspec.json.encode(reported)
    return Answer(answer.status, body, answer.content_type, answer.headers)
