"""Scripted faults: which request or webhook goes wrong, how, how often and with what probability.

A fault is posted to `/_control/faults` as `{"match": {...}, "action": {...}}` and stays until its
`times` are used up or the faults are deleted. The first fault that matches applies.

Rules a change must keep: every field has its sentence in `MATCH_FIELDS` or `ACTION_FIELDS` (a test
compares them); an unknown field is rejected, so that a misspelt fault is not ignored; the same seed
and the same requests give the same faults; a fault and each time it applies are journalled first,
so that a restart loses no fault.
"""

import random
from collections.abc import Callable, Iterator

import msgspec

# The wrong secret that signs the webhooks of `forged_signature`.
FORGER_SECRET = "whsec_Zm9yZ2VkLWJ5LXNvbWVib2R5LWVsc2U="  # noqa: S105
HANG_SECONDS_MAX = 3600.0
SCRIPTED_MAX = 1_000

MATCH_FIELDS = {
    "operation": "initiate, capture, void, refund, find, settlements, webhook or any (no webhook);"
    " for the order partners: orders, registrations, deliveries, find, webhook or any",
    "reference": "only for this merchant reference",
    "payment_method": "only for initiations that bring this token",
    "event_type": "only for webhooks of this type",
    "times": "how often the fault acts; null: until the faults are deleted",
    "probability": "acts with this probability (drawn from the seed); null: always",
}

ACTION_FIELDS = {
    "latency_ms": "wait before anything is done",
    "latency_after_ms": "do it, then wait before answering",
    "hang_before_apply": "do nothing and keep silent for this many seconds, then hang up",
    "hang_after_apply": "do it, keep silent for this many seconds, then hang up",
    "drop_connection_before": "do nothing and hang up at once",
    "drop_connection_after": "do it and hang up at once",
    "status": "answer this status (500, 502 as HTML, 503, 429, 409, 422, ...) instead",
    "retry_after": "with status: the Retry-After header, in seconds",
    "apply_first": "with status: do it first; the effect is there although the answer says no",
    "code": "with status: the problem's code",
    "body": "with status: this text as the body, whatever it is",
    "store_500_for_key": "do nothing, answer 500, and answer 500 to this key ever after",
    "truncated_body": "do it, announce the whole answer, send half of it and hang up",
    "wrong_transaction": "do it, but answer with another transaction's id and reference",
    "wrong_amount": "do it, but answer (or notify) one unit more than the amount",
    "wrong_currency": "do it, but answer (or notify) with the currency XXX",
    "html_200": "do it, but answer 200 with an HTML page",
    "no_lookup": "a find by reference answers this status (404 or 501)",
    "forget_keys_after_seconds": "do it, but forget the idempotency key after so many seconds",
    "decline_code": "decline the initiation with this code",
    "refund_fails": "accept the refund, then fail it",
    "webhook_before_answer": "do it, deliver its webhooks, and only then answer",
    "wrong_totals": "settlements: the control totals do not fit the lines",
    "drop_line": "settlements: leave out the line with this number",
    "duplicate_line": "settlements: give the line with this number twice",
    "repeat_page": "settlements: answer the first page whatever the cursor",
    "duplicate": "webhook: send it this many times more",
    "reorder": "webhook: hold back this many and send them last first",
    "drop": "webhook: never send it",
    "delay_ms": "webhook: send it so much later",
    "forged_signature": "webhook: sign it with a secret that is not ours",
    "old_timestamp_seconds": "webhook: sign it as so old (negative: from the future)",
    "other_body": "webhook: send it, then once more with the same id and another body",
    "never_ready": "orders: the vehicle is never ready; deliveries: never completed",
    "done_after_seconds": "orders, deliveries: ready or completed after so many seconds",
}


class Match(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The requests or webhooks that a fault applies to."""

    operation: str = "any"
    reference: str | None = None
    payment_method: str | None = None
    event_type: str | None = None
    times: int | None = None
    probability: float | None = None


class Action(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """What goes wrong; `ACTION_FIELDS` describes each field."""

    latency_ms: int = 0
    latency_after_ms: int = 0
    hang_before_apply: float | None = None
    hang_after_apply: float | None = None
    drop_connection_before: bool = False
    drop_connection_after: bool = False
    status: int | None = None
    retry_after: int | None = None
    apply_first: bool = False
    code: str = "scripted"
    body: str | None = None
    store_500_for_key: bool = False
    truncated_body: bool = False
    wrong_transaction: bool = False
    wrong_amount: bool = False
    wrong_currency: bool = False
    html_200: bool = False
    no_lookup: int | None = None
    forget_keys_after_seconds: float | None = None
    decline_code: str | None = None
    refund_fails: bool = False
    webhook_before_answer: bool = False
    wrong_totals: bool = False
    drop_line: int | None = None
    duplicate_line: int | None = None
    repeat_page: bool = False
    duplicate: int = 0
    reorder: int = 0
    drop: bool = False
    delay_ms: int = 0
    forged_signature: bool = False
    old_timestamp_seconds: int = 0
    other_body: bool = False
    never_ready: bool = False
    done_after_seconds: float | None = None


NO_ACTION = Action()


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A match and an action, as posted; `acted` counts how often it applied."""

    match: Match = msgspec.field(default_factory=Match)
    action: Action
    acted: int = 0


class Occasion(msgspec.Struct, frozen=True):
    """A request or webhook to which a fault may apply."""

    operation: str
    reference: str | None = None
    payment_method: str | None = None
    event_type: str | None = None


class FaultScripted(msgspec.Struct, kw_only=True, tag_field="record", tag="fault"):
    """A fault was added after the others."""

    fault: Fault


class FaultActed(msgspec.Struct, kw_only=True, tag_field="record", tag="fault_acted"):
    """The fault at this position of the list applied once more."""

    place: int


class FaultsDeleted(msgspec.Struct, kw_only=True, tag_field="record", tag="faults_deleted"):
    """Every fault was deleted."""


FaultRecord = FaultScripted | FaultActed | FaultsDeleted


class UnknownOperationError(Exception):
    """The fault names an operation this simulator does not have."""


class TooManyFaultsError(Exception):
    """No more faults fit; delete those that are over."""


class Faults:
    """The scripted faults."""

    def __init__(
        self,
        chance: random.Random,
        operations: frozenset[str],
        write: Callable[[FaultRecord], None] = lambda _record: None,
    ) -> None:
        """Draw from `chance`; accept these operations; journal changes with `write`."""
        self._chance = chance
        self._operations = operations | {"any", "webhook"}
        self._write = write
        self.scripted: list[Fault] = []

    def take_back(self, record: FaultRecord) -> None:
        """Restore a journalled change."""
        match record:
            case FaultScripted():
                self.scripted.append(record.fault)
            case FaultActed():
                self.scripted[record.place].acted += 1
            case FaultsDeleted():
                self.scripted.clear()

    def snapshot(self) -> Iterator[FaultRecord]:
        """Yield records that restore this list."""
        return (FaultScripted(fault=fault) for fault in self.scripted)

    def script(self, fault: Fault) -> None:
        """Add a fault after the existing ones.

        Raises:
            UnknownOperationError: this simulator has no such operation.
            TooManyFaultsError: the limit is reached.
        """
        if fault.match.operation not in self._operations:
            raise UnknownOperationError(", ".join(sorted(self._operations)))
        if len(self.scripted) >= SCRIPTED_MAX:
            raise TooManyFaultsError
        self.scripted.append(fault)
        self._write(FaultScripted(fault=fault))

    def delete(self) -> int:
        """Delete all faults and return their number."""
        count = len(self.scripted)
        self.scripted.clear()
        self._write(FaultsDeleted())
        return count

    def take(self, occasion: Occasion) -> Action | None:
        """Return the action of the first fault for this occasion, and count it."""
        for place, fault in enumerate(self.scripted):
            if self._acts(fault, occasion):
                fault.acted += 1
                self._write(FaultActed(place=place))
                return fault.action
        return None

    def _acts(self, fault: Fault, occasion: Occasion) -> bool:
        match = fault.match
        if match.times is not None and fault.acted >= match.times:
            return False
        named = match.operation == occasion.operation
        if not named and (match.operation != "any" or occasion.operation == "webhook"):
            return False
        for wanted, given in (
            (match.reference, occasion.reference),
            (match.payment_method, occasion.payment_method),
            (match.event_type, occasion.event_type),
        ):
            if wanted is not None and wanted != given:
                return False
        return match.probability is None or self._chance.random() < match.probability
