"""The payment timeline: all records about a payment in order of time.

Rules a change must keep: every row of every table is an entry, including rejected acknowledgements
and calls without an answer; an entry states what was recorded and no more; amounts have their
currency.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Final

import msgspec

from caas.billing_database.decisions import OutcomeDecision
from caas.billing_database.gateway_calls import GatewayCallRecord
from caas.billing_database.payment_audit_trail import PaymentAuditTrail
from caas.billing_database.refunds import Dispute, Refund
from caas.console.formats import fact_written, written
from caas.console.languages import Translator
from caas.payment_processing import PaymentStatus
from caas.rules.money import Money
from caas.rules.payment_states import PaymentEvent

CALL_TONES: Final = {
    "answered": "", "refused": "bad", "turned away": "warn", "not sent": "warn", "unknown": "warn",
}  # fmt: skip
EVENT_TONES: Final = {
    "Gateway rejection": "bad", "Never sent": "bad", "Operators decide not charged": "warn",
    "Gateway changed": "warn", "Outcome unknown": "warn",
    "Bank rejects": "bad", "Bank reverses": "bad",
    "Capture refused": "bad", "Evidence refused": "bad", "Delivery failed": "bad",
    "Late outcome": "warn", "Dispute opened": "warn", "Dispute lost": "bad", "Loss booked": "bad",
    "Bank confirms": "good", "Delivery confirmed": "good", "Funds reserved": "good",
    "Refund complete": "good",
}  # fmt: skip
DRAWN: Final = frozenset(event.value for event in PaymentEvent)


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the timeline; `lines` are ledger entries, `facts` names and values."""

    at: datetime
    kind: str
    title: str
    detail: str = ""
    tone: str = ""
    money: str = ""
    facts: list[tuple[str, str]] = msgspec.field(default_factory=list)
    lines: list[tuple[str, str, str]] = msgspec.field(default_factory=list)
    path: str = ""


class TimelineSource(msgspec.Struct, frozen=True):
    """The records that the timeline shows."""

    status: PaymentStatus
    record: PaymentAuditTrail
    calls: list[GatewayCallRecord]
    decisions: list[OutcomeDecision]


def moments(source: TimelineSource, t: Translator) -> list[Moment]:
    """Return every entry of a payment, oldest first."""
    writer = _Writer(source, t)
    return sorted(writer.all(), key=lambda moment: moment.at)


class _Writer:
    """Formats entries in one language."""

    def __init__(self, source: TimelineSource, t: Translator) -> None:
        self._source = source
        self._t = t

    def all(self) -> Iterator[Moment]:
        record = self._source.record
        yield from self._events()
        yield from self._calls()
        yield from self._vehicle(record)
        yield from self._outside(record)
        yield from self._cases(record)
        yield from self._reconciliation(record)
        yield from self._given_back(self._source.status.refunds, self._source.status.disputes)
        yield from self._decisions()

    def _events(self) -> Iterator[Moment]:
        entries = defaultdict(list)
        for entry in self._source.record.entries:
            entries[entry["seq"]].append(entry)
        for event in self._source.status.events:
            transitioned = event.from_state not in (None, event.to_state)
            yield Moment(
                at=event.at,
                kind="event",
                title=self._word("event", event.event),
                detail=f"{event.from_state} → {event.to_state}" if transitioned else "",
                tone=EVENT_TONES.get(event.event, ""),
                facts=[("source", event.source), *self._facts(event.facts)],
                lines=[self._entry(entry) for entry in entries[event.seq]],
            )

    def _calls(self) -> Iterator[Moment]:
        for call in self._source.calls:
            facts = [("took", f"{call.took_ms} ms")]
            yield Moment(
                at=call.asked_at,
                kind="call",
                title=f"{self._word('call', call.operation)} · "
                f"{self._word('call_outcome', call.outcome)}",
                detail=call.summary,
                tone=CALL_TONES[call.outcome],
                money=self._amount(call.amount),
                facts=[*facts, ("key", call.key)] if call.key else facts,
            )

    def _vehicle(self, record: PaymentAuditTrail) -> Iterator[Moment]:
        for command in record.commands:
            yield Moment(
                at=command["created_at"],
                kind="vehicle",
                title=self._word("command", command["action"]),
                detail=f"{command['service']} · {command['vin']}",
                facts=[
                    ("command", str(command["command_id"])), ("epoch", str(command["epoch"])),
                    ("deadline", command["deadline"].isoformat(timespec="seconds")),
                ],
            )  # fmt: skip
        actions = {command["command_id"]: command["action"] for command in record.commands}
        for answer in record.answers:
            yield self._answer(answer, actions.get(answer["command_id"]))

    def _answer(self, answer: dict[str, Any], action: str | None) -> Moment:
        of_vehicle = answer["kind"] == "vehicle_acknowledgement"
        refused = answer["refused_because"]
        title = self._word("evidence", answer["kind"])
        if action:
            title = f"{title} · {self._word('action', action)}"
        if refused:
            title = f"{title} · {self._t('timeline.refused')}"
        tone = "bad" if refused or answer["status"] in {"FAILED", "REJECTED"} else ""
        return Moment(
            at=answer["recorded_at"],
            kind="vehicle" if of_vehicle else "evidence",
            title=title,
            detail=" · ".join(
                filter(None, (answer["status"], answer["status_reason"], answer["vin"], refused))
            ),
            tone=tone or ("good" if answer["status"] == "SUCCEEDED" else ""),
            facts=self._facts(
                {name: answer[name] for name in ("id", "command_id", "epoch", "vehicle_time")}
            ),
        )

    def _outside(self, record: PaymentAuditTrail) -> Iterator[Moment]:
        for webhook in record.webhooks:
            yield Moment(
                at=webhook["received_at"],
                kind="webhook",
                title=f"{self._t('timeline.webhook')} · {webhook['type']}",
                detail=webhook["status"],
                facts=[("id", webhook["event_id"])],
            )
        for source in record.notifications:
            alert = source["kind"]
            title = (
                self._word("case", alert) if alert else self._word("template", source["template"])
            )
            sent = source["not_sent_because"] or (
                self._t("timeline.sent") if source["sent_at"] else self._t("timeline.not_sent_yet")
            )
            yield Moment(
                at=source["created_at"],
                kind="notification",
                title=title,
                detail=f"{self._word('audience', source['audience'])} · {sent}",
            )

    def _cases(self, record: PaymentAuditTrail) -> Iterator[Moment]:
        for case in record.cases:
            title, path = self._word("case", case["kind"]), f"/operations/cases/{case['id']}"
            yield Moment(
                at=case["opened_at"], kind="case", detail=case["sentence"], tone="warn",
                title=f"{self._t('timeline.case_opened')} · {title}", path=path,
            )  # fmt: skip
            if case["resolved_at"]:
                yield Moment(
                    at=case["resolved_at"], kind="case", tone="good", path=path,
                    title=f"{self._t('timeline.case_closed')} · {title}",
                    detail=" · ".join(filter(None, (case["resolution"], case["owner"]))),
                )  # fmt: skip

    def _reconciliation(self, record: PaymentAuditTrail) -> Iterator[Moment]:
        for line in record.lines:
            yield Moment(
                at=line["at"],
                kind="settlement",
                title=f"{self._t('timeline.line')} · {self._word('line', line['type'])}",
                detail=f"{self._word('line_class', line['class'])} · {line['day']}",
                money=_money(line["gross"], line["currency"], self._t.language),
                facts=self._facts(
                    {name: line[name] for name in ("report_ref", "fee", "net")}, line["currency"]
                ),
            )
        for step in record.discrepancies:
            yield Moment(
                at=step["at"],
                kind="discrepancy",
                title=f"{self._word('discrepancy', step['kind'])} · "
                f"{self._word('step_of_discrepancy', step['event'])}",
                detail=step["by"],
                tone="warn" if step["event"] == "opened" else "",
                money=_money(step["amount"], step["currency"], self._t.language),
                path=f"/operations/discrepancies/{step['id']}",
            )
        for entry in record.corrections:
            yield Moment(
                at=entry["at"], kind="discrepancy", title=self._t("timeline.correction"),
                lines=[self._entry(entry)],
            )  # fmt: skip

    def _given_back(
        self, refunds: Iterable[Refund], disputes: Iterable[Dispute]
    ) -> Iterator[Moment]:
        for refund in refunds:
            yield Moment(
                at=refund.created_at,
                kind="refund",
                title=f"{self._t('timeline.refund')} · {self._word('refund_state', refund.state)}",
                detail=f"{refund.reason} · {refund.requested_by}",
                tone="bad" if refund.state == "failed" else "",
                money=_money(refund.amount, refund.currency, self._t.language),
                facts=self._facts({"id": refund.id, "outcome": refund.outcome,
                              "gateway": refund.gateway_refund_id,
                              "because": refund.failed_because}),
            )  # fmt: skip
        for dispute in disputes:
            yield Moment(
                at=dispute.opened_at,
                kind="dispute",
                title=f"{self._t('timeline.dispute')} · {dispute.state}",
                detail=dispute.reason,
                tone="warn",
                money=_money(dispute.amount, dispute.currency, self._t.language),
                facts=self._facts(
                    {
                        "id": dispute.id,
                        "claimed": dispute.claimed_amount,
                        "excess": dispute.excess,
                        "origin": dispute.origin,
                    }
                ),
            )

    def _decisions(self) -> Iterator[Moment]:
        for decision in self._source.decisions:
            yield Moment(
                at=decision.proposed_at, kind="decision", detail=decision.note,
                title=self._t("timeline.proposed", by=decision.proposed_by),
            )  # fmt: skip
            if decision.decided_at:
                yield Moment(
                    at=decision.decided_at, kind="decision",
                    title=self._t(f"timeline.{decision.state}", by=decision.decided_by),
                )  # fmt: skip

    def _entry(self, entry: dict[str, Any]) -> tuple[str, str, str]:
        amount = _money(entry["amount"], entry["currency"], self._t.language)
        return entry["debit"], entry["credit"], amount

    def _amount(self, amount: int | None) -> str:
        currency = self._source.status.payment.currency
        return "" if amount is None else _money(amount, currency, self._t.language)

    def _facts(self, facts: dict[str, Any], currency: str | None = None) -> list[tuple[str, str]]:
        currency = currency or self._source.status.payment.currency
        return [
            (name, fact_written(name, value, currency, self._t.language))
            for name, value in facts.items()
            if value not in (None, "")
        ]

    def _word(self, table: str, value: str) -> str:
        return self._t.named(table, value)


def _money(amount: int, currency: str, language: str) -> str:
    return written(Money(amount, currency), language)
