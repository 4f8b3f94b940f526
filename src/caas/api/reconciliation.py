"""Reconciliation (Diagram 10): runs, days, reports and seals.

Rule a change must keep: repeating a request does not create a second run.
"""

import re
from datetime import date
from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec

from caas.api.authentication import Call
from caas.api.bodies import BodyOf, QueryOf
from caas.api.context import Api
from caas.api.idempotency import once
from caas.api.operation import Operation
from caas.api.problems import InvalidParameterError, Problem
from caas.api.reconciliation_answers import (
    ROOT,
    DayAnswer,
    DayList,
    DayWithRuns,
    PositionAnswer,
    ReconciledAnswer,
    ReplayAnswer,
    ReportAnswer,
    RunAnswer,
    day_answer,
    report_answer,
    run_answer,
)
from caas.api.row_answers import answer_from
from caas.api.texts import DAY_PATTERN, GatewayName, Note
from caas.reconciliation.reporting import ReconciliationReport
from caas.rules.scopes import Scope
from caas.web.response import Response, json_response

TAG: Final = "reconciliation"
OPERATORS: Final = frozenset({Scope.OPERATIONS})
PLACE_MAX: Final = 2**62
PATIENCE_SECONDS: Final = 20.0
_DAY: Final = re.compile(DAY_PATTERN)


class ReconciliationBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The day, and whether it is closed or only loaded as far as its report has grown.

    Without a gateway, the report is that of the gateway of new payments.
    """

    day: date
    mode: Literal["close", "incremental"] = "close"
    gateway: GatewayName | None = None


class ReleaseBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The report and line number of an unreadable line to release, and why."""

    report: UUID
    place: Annotated[int, msgspec.Meta(ge=0, le=PLACE_MAX)]
    note: Note


class NoContent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An empty response."""


class SealBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The gateway whose day is sealed; that of new payments if none is named."""

    gateway: GatewayName | None = None


class GatewayQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The gateway whose day is meant; that of new payments if none is named."""

    gateway: GatewayName | None = None


class PositionQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first and last day for which losses and disputes are counted."""

    since: date
    until: date


RUN: Final = BodyOf(ReconciliationBody)
RELEASE: Final = BodyOf(ReleaseBody)
NO_CONTENT: Final = BodyOf(NoContent)
POSITION: Final = QueryOf(PositionQuery)
SEAL: Final = BodyOf(SealBody)
AT_GATEWAY: Final = QueryOf(GatewayQuery)


async def run_reconciliation(api: Api, call: Call) -> Response:
    """Reconcile a day: fetch its report, compare in both directions, apply the results."""
    body = RUN.read(call.body)

    async def run() -> Response:
        done = await api.platform.reconciliation.reconcile(
            body.day, gateway=body.gateway, mode=body.mode, patience_seconds=PATIENCE_SECONDS
        )
        to_response = run_answer(done.run)
        answer = ReconciledAnswer(
            run=to_response, day=day_answer(done.day), links=to_response.links
        )
        return json_response(201, answer, (b"location", to_response.links["self"].encode()))

    return await once(api.platform.tables.keys, call, body, run)


async def get_reconciliation_run(api: Api, call: Call) -> Response:
    """Return a run with its inputs, its as-of time and its results."""
    return json_response(200, run_answer(await api.platform.reconciliation.run(call.ids["run_id"])))


async def replay_run(api: Api, call: Call) -> Response:
    """Repeat a run's comparison on its stored input. The result must be identical byte for byte."""
    body = NO_CONTENT.read(call.body)

    async def replay() -> Response:
        reconciliation = api.platform.reconciliation
        run = await reconciliation.run(call.ids["run_id"])
        digest = await reconciliation.replay(run.id)
        same = digest == run.output_hash
        return json_response(200, ReplayAnswer(run=run.id, output_hash=digest, is_the_same=same))

    return await once(api.platform.tables.keys, call, body, replay)


async def list_days(api: Api, _call: Call) -> Response:
    """List the days of every gateway with their status, newest first."""
    return json_response(
        200, DayList([day_answer(it) for it in await api.platform.reconciliation.listed()])
    )


async def get_day(api: Api, call: Call) -> Response:
    """Return a day with its current status, its runs and its unreadable lines."""
    day, reconciliation = _day(call), api.platform.reconciliation
    gateway = _gateway(call)
    judged = day_answer(await reconciliation.verdict(day, gateway=gateway))
    runs = [run_answer(run) for run in await reconciliation.runs_of(day, gateway=gateway)]
    aside = await reconciliation.quarantined(day, gateway=gateway)
    answer = DayWithRuns(day=judged, runs=runs, quarantined=aside, links=judged.links)
    return json_response(200, answer)


async def seal_day(api: Api, call: Call) -> Response:
    """Seal a closed day. It becomes immutable."""
    body = SEAL.read(call.body)
    day = _day(call)

    async def seal() -> Response:
        sealed = await api.platform.reconciliation.seal(day, by=call.by.name, gateway=body.gateway)
        return json_response(200, day_answer(sealed))

    return await once(api.platform.tables.keys, call, body, seal)


async def get_report(api: Api, call: Call) -> Response:
    """Return a day's reconciliation report as JSON."""
    return json_response(200, report_answer(await _report(api, call)))


async def get_report_csv(api: Api, call: Call) -> Response:
    """Return a day's reconciliation report as CSV, one table after the other."""
    return await _file(api, call, "csv", b"text/csv; charset=utf-8")


async def get_report_pdf(api: Api, call: Call) -> Response:
    """Return a day's reconciliation report as PDF."""
    return await _file(api, call, "pdf", b"application/pdf")


async def release_line(api: Api, call: Call) -> Response:
    """Release an unreadable line, so that the day can close without it."""
    body = RELEASE.read(call.body)

    async def release() -> Response:
        judged = await api.platform.reconciliation.release_quarantined(
            body.report, body.place, by=call.by.name, note=body.note
        )
        return json_response(200, day_answer(judged))

    return await once(api.platform.tables.keys, call, body, release)


async def get_position(api: Api, call: Call) -> Response:
    """Return open settlements now, and losses and disputes over a period."""
    query = POSITION.read(call.scope["query_string"])
    found = await api.platform.reconciliation.reporting.position(query.since, query.until)
    return json_response(
        200, answer_from(PositionAnswer, found, since=query.since, until=query.until)
    )


async def _report(api: Api, call: Call) -> ReconciliationReport:
    reporting = api.platform.reconciliation.of(_gateway(call)).reporting
    return await reporting.report(_day(call))


async def _file(api: Api, call: Call, form: str, kind: bytes) -> Response:
    day = _day(call)
    written = await api.platform.reconciliation.of(_gateway(call)).reporting.file(day, form)
    name = f'attachment; filename="reconciliation-{day}.{form}"'.encode()
    return Response(200, written, ((b"content-type", kind), (b"content-disposition", name)))


def _gateway(call: Call) -> str | None:
    """Return the gateway in the query, if one is named."""
    return AT_GATEWAY.read(call.scope["query_string"]).gateway


def _day(call: Call) -> date:
    """Return the date in the path; the key must be unrestricted."""
    text = str(call.ids["day"])
    try:
        return date.fromisoformat(text if _DAY.match(text) else "")
    except ValueError as error:
        raise InvalidParameterError("The day must have the form 2026-11-19.") from error


_DAY_PATH: Final = f"{ROOT}/days/{{day:str}}"
_RUN_PATH: Final = f"{ROOT}/runs/{{run_id:uuid}}"

RECONCILIATION_OPERATIONS: Final = (
    Operation(
        id="runReconciliation", tag=TAG, method="POST", path=f"{ROOT}/runs", scopes=OPERATORS,
        body=RUN, answers={201: ReconciledAnswer, 404: Problem}, handle=run_reconciliation,
    ),
    Operation(
        id="getReconciliationRun", tag=TAG, method="GET", path=_RUN_PATH, scopes=OPERATORS,
        answers={200: RunAnswer}, handle=get_reconciliation_run,
    ),
    Operation(
        id="replayReconciliationRun", tag=TAG, method="POST", path=f"{_RUN_PATH}/replay",
        scopes=OPERATORS, body=NO_CONTENT, answers={200: ReplayAnswer}, handle=replay_run,
    ),
    Operation(
        id="listReconciliationDays", tag=TAG, method="GET", path=f"{ROOT}/days",
        scopes=OPERATORS, answers={200: DayList}, handle=list_days,
    ),
    Operation(
        id="getReconciliationDay", tag=TAG, method="GET", path=_DAY_PATH, scopes=OPERATORS,
        query=AT_GATEWAY, answers={200: DayWithRuns}, handle=get_day,
    ),
    Operation(
        id="sealReconciliationDay", tag=TAG, method="POST", path=f"{_DAY_PATH}/seal",
        scopes=OPERATORS, body=SEAL, answers={200: DayAnswer}, handle=seal_day,
    ),
    Operation(
        id="getReconciliationReport", tag=TAG, method="GET", path=f"{_DAY_PATH}/report",
        scopes=OPERATORS, query=AT_GATEWAY, answers={200: ReportAnswer}, handle=get_report,
    ),
    Operation(
        id="getReconciliationReportAsCsv", tag=TAG, method="GET", path=f"{_DAY_PATH}/report.csv",
        scopes=OPERATORS, query=AT_GATEWAY, answers={200: str}, media_type="text/csv",
        handle=get_report_csv,
    ),
    Operation(
        id="getReconciliationReportAsPdf", tag=TAG, method="GET", path=f"{_DAY_PATH}/report.pdf",
        scopes=OPERATORS, query=AT_GATEWAY, answers={200: str}, media_type="application/pdf",
        handle=get_report_pdf,
    ),
    Operation(
        id="releaseQuarantinedLine", tag=TAG, method="POST", path=f"{ROOT}/quarantine/releases",
        scopes=OPERATORS, body=RELEASE, answers={200: DayAnswer, 404: Problem},
        handle=release_line,
    ),
    Operation(
        id="getReconciliationPosition", tag=TAG, method="GET", path=f"{ROOT}/position",
        scopes=OPERATORS, query=POSITION, answers={200: PositionAnswer}, handle=get_position,
    ),
)  # fmt: skip
