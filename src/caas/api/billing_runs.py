"""Month-end billing runs (Diagram 6, "End of Month Reached"): start one, read its progress.

Rule a change must keep: a month is billed once; repeating the call resumes the run or changes
nothing.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from caas.api.authentication import Call
from caas.api.bodies import BodyOf
from caas.api.context import Api
from caas.api.idempotency import once
from caas.api.operation import Operation
from caas.api.problems import InvalidParameterError, Problem
from caas.api.row_answers import answer_from
from caas.api.texts import MONTH_PATTERN, MonthKey
from caas.billing_database.billing_runs import BillingRun
from caas.rules.mes_vencido import Month
from caas.rules.scopes import Scope
from caas.web.response import Response, json_response

TAG: Final = "billing"
_MONTH: Final = re.compile(MONTH_PATTERN)


class BillingRunBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The month to bill."""

    month: MonthKey


class BillingRunAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The progress of a month's run.

    `below_minimum` counts its charges that the gateway refused as too small: they are written off.
    """

    month: str
    subscriptions: int
    seen: int
    invoices: int
    charges: int
    below_minimum: int
    started_at: datetime
    invoiced_at: datetime | None
    finished_at: datetime | None
    links: dict[str, str]


class BillingRunList(msgspec.Struct, frozen=True):
    """Billing runs, newest month first."""

    data: list[BillingRunAnswer]


RUN: Final = BodyOf(BillingRunBody)


async def run_month(api: Api, call: Call) -> Response:
    """Bill a month that has ended. Repeating the call resumes its run; a completed one is kept."""
    body = RUN.read(call.body)

    async def run() -> Response:
        made = await api.platform.billing.run_month(Month.parse(body.month))
        [to_response] = await _to_response(api, [made])
        return json_response(201, to_response, (b"location", to_response.links["self"].encode()))

    return await once(api.platform.tables.keys, call, body, run)


async def get_run(api: Api, call: Call) -> Response:
    """Return the progress of a month's run."""
    month = str(call.ids["month"])
    if _MONTH.match(month) is None:
        raise InvalidParameterError("The month must have the form 2026-11.")
    found = await api.platform.billing.run(Month.parse(month))
    return json_response(200, (await _to_response(api, [found]))[0])


async def list_runs(api: Api, _call: Call) -> Response:
    """List billing runs, newest month first."""
    runs = await api.platform.billing.runs()
    return json_response(200, BillingRunList(await _to_response(api, runs)))


async def _to_response(api: Api, runs: Sequence[BillingRun]) -> list[BillingRunAnswer]:
    too_small = await api.platform.billing.too_small(runs)
    return [
        answer_from(
            BillingRunAnswer, run, below_minimum=too_small.get(run.month, 0),
            links={"self": f"/v1/billing/runs/{run.month}"},
        )
        for run in runs
    ]  # fmt: skip


_BILLERS: Final = frozenset({Scope.BILLING, Scope.OPERATIONS})

BILLING_OPERATIONS: Final = (
    Operation(
        id="runBilling", tag=TAG, method="POST", path="/v1/billing/runs", scopes=_BILLERS,
        body=RUN, answers={201: BillingRunAnswer}, handle=run_month,
    ),
    Operation(
        id="getBillingRun", tag=TAG, method="GET", path="/v1/billing/runs/{month:str}",
        scopes=_BILLERS, answers={200: BillingRunAnswer, 404: Problem}, handle=get_run,
    ),
    Operation(
        id="listBillingRuns", tag=TAG, method="GET", path="/v1/billing/runs", scopes=_BILLERS,
        answers={200: BillingRunList}, handle=list_runs,
    ),
)  # fmt: skip
