"""The only callers of the payment gateway: process, commit, void (Diagrams 8 and 11).

Every call is bracketed: the intent is committed before it, the outcome after it, and no
transaction is open while the network is. What an answer means for a payment is decided in one
place, whether it came from the call, a lookup, a webhook or a settlement line.

Rules a change must keep: the key of a call follows from (payment, operation), never from the
attempt; only evidence turns a payment into Failed; an outcome nobody knows stays unknown and is
looked up; a capture is claimed with its evidence before the gateway hears of it.
"""

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any, Final

from caas.billing_database.books import Books
from caas.billing_database.connection import Connection
from caas.billing_database.moves import Claim, Command, Evidence, Move, Moved, Work, move_of
from caas.billing_database.payments import Payment
from caas.errors import ConflictError
from caas.external_systems.http_answers import RefusedByPartnerError
from caas.external_systems.payment_gateway import (
    AlreadyCapturedError,
    AlreadyVoidedError,
    AuthorizationExpiredError,
    CaptureMode,
    GatewayTransaction,
    PaymentGateway,
    TransactionRequest,
    TransactionStatus,
)
from caas.payment_processing.flow import Alert, Flow, Step
from caas.payment_processing.gateway_calls import (
    AUTHORISE,
    CAPTURE,
    NO_PATIENCE,
    POLL_SETTLEMENT,
    PROBE,
    SAFETY_NET_SECONDS,
    VOID,
    Unanswered,
    key_of,
    persist,
)
from caas.rules import postings
from caas.rules.pace import Pace
from caas.rules.payment_failures import NotSentConsequence, not_sent_consequence
from caas.rules.payment_states import AnyEvent, BeyondEvent, PaymentEvent, PaymentState, Remark
from caas.rules.retry_strategy import GatewayErrorKind, decline_kind

FIRST_PROBE_SECONDS: Final = 5.0
HOSTED_PAGE_PROBE_SECONDS: Final = 30.0
FIRST_POLL_SECONDS: Final = 3600.0
HELD: Final = frozenset({TransactionStatus.AUTHORIZED})
TAKEN: Final = frozenset({TransactionStatus.CAPTURING, TransactionStatus.SETTLED})
NEVER_REACHED: Final = "gateway_unreachable"
ABANDONED: Final = "abandoned"


class CaptureWonError(ConflictError):
    """The charge was committed before it could be voided; refund it instead."""

    code = "capture_won"


class Charges:
    """Authorises, commits and voids charges through one gateway."""

    def __init__(self, books: Books, gateway: PaymentGateway, *, pace: Pace, alert: Alert) -> None:
        """Charge through this gateway and record in these books."""
        self._books = books
        self._gateway = gateway
        self._pace = pace
        self._alert = alert

    async def process_payment(
        self,
        payment: Payment,
        flow: Flow,
        *,
        patience_seconds: float = NO_PATIENCE,
        earlier_attempts: int = 0,
        maybe_sent: bool = True,
        issue: int = 1,
    ) -> Payment:
        """Ask the gateway for a pending payment's funds and follow its answer (Diagrams 2-6)."""
        assert payment.state is PaymentState.PENDING, "only an intent that is committed is sent"
        request = self._request_for(payment)
        key = key_of(payment.id, AUTHORISE, issue=issue)
        answer = await persist(
            lambda: self._gateway.initiate(request, key=key),
            pace=self._pace,
            patience_seconds=patience_seconds,
            earlier_attempts=earlier_attempts,
            maybe_sent=maybe_sent,
        )
        if isinstance(answer, Unanswered):
            return await self._authorisation_unanswered(payment, flow, answer)
        return await self.authorisation_answered(payment, answer, flow, source="gateway")

    async def authorisation_answered(
        self, payment: Payment, transaction: GatewayTransaction, flow: Flow, *, source: str
    ) -> Payment:
        """Follow what the gateway says of a pending payment's transaction."""
        assert payment.state is PaymentState.PENDING, "later answers are late truths"
        match transaction.status:
            case TransactionStatus.REQUIRES_ACTION | TransactionStatus.PENDING:
                return await self._still_open(payment, transaction)
            case TransactionStatus.FAILED:
                return await self._declined(payment, transaction, flow, source=source)
            case TransactionStatus.VOIDED:
                return await self.fail(
                    payment, BeyondEvent.CUSTOMER_ABANDONS, flow, ABANDONED, transaction.id
                )
            case _:
                return await self._funds_reserved(payment, transaction, flow, source=source)

    async def commit_charge(
        self, payment: Payment, evidence: Evidence, *, also: Step | None = None
    ) -> Payment:
        """Claim the capture with its evidence, then tell the gateway (Diagram 8, arrow 5a).

        When the authorisation was voided first, nothing is charged and the payment says so.
        """
        moved = await self.claim_capture(payment, evidence, also=also)
        return await self.capture(moved) if moved.state is PaymentState.CAPTURING else moved

    async def claim_capture(
        self,
        payment: Payment,
        evidence: Evidence,
        *,
        reason: str = "delivered",
        within: Connection | None = None,
        also: Step | None = None,
    ) -> Payment:
        """Commit evidence, claim and Capturing together; the gateway is told afterwards.

        When the authorisation was voided first, nothing is charged and the payment says so.
        """
        step = also or Step()
        move = move_of(
            payment,
            PaymentEvent.INITIATE_SETTLEMENT,
            source="capture",
            captured=payment.amount,
            claim=Claim("capture", reason, evidence.id, evidence.kind),
            evidence=evidence,
            entries=postings.captured(payment.type, payment.amount, held=payment.authorised_amount),
            done=("activate", *step.done),
            next=(Work(CAPTURE, self._pace.seconds(SAFETY_NET_SECONDS)), *step.next),
        )
        return (await self._apply(payment, move, within=within, also=step.also))[0]

    async def capture(
        self,
        payment: Payment,
        *,
        patience_seconds: float = NO_PATIENCE,
        earlier_attempts: int = 0,
    ) -> Payment:
        """Tell the gateway to capture what was claimed; safe to say twice."""
        assert payment.gateway_transaction_id is not None, "what is captured was authorised"
        transaction_id = payment.gateway_transaction_id
        key = key_of(payment.id, CAPTURE)
        try:
            answer = await persist(
                lambda: self._gateway.capture(transaction_id, payment.amount, key=key),
                pace=self._pace,
                patience_seconds=patience_seconds,
                earlier_attempts=earlier_attempts,
            )
        except AlreadyCapturedError:
            return await self.capture_accepted(payment)
        except (AlreadyVoidedError, AuthorizationExpiredError) as refusal:
            return await self._capture_refused(payment, refusal)
        if isinstance(answer, Unanswered):
            return await self._unanswered(payment, CAPTURE, answer)
        return await self.capture_accepted(payment)

    async def void_charge(
        self, payment: Payment, reason: str, *, command: Command | None = None
    ) -> Payment:
        """Claim the void, then tell the gateway (Diagram 8, arrow 5b).

        Raises:
            CaptureWonError: the charge was committed first.
        """
        claimed = await self.claim_void(payment, reason, command=command)
        return await self.send_void(claimed, reason)

    async def claim_void(
        self,
        payment: Payment,
        reason: str,
        *,
        command: Command | None = None,
        within: Connection | None = None,
        also: Step | None = None,
    ) -> Payment:
        """Commit the void claim, with the fence's command to the vehicle when there is one.

        Raises:
            CaptureWonError: the charge was committed first.
        """
        step = also or Step()
        move = move_of(
            payment,
            Remark.VOID_REQUESTED,
            source="void",
            facts={"reason": reason},
            claim=Claim("void", reason),
            command=command,
            done=("activate", *step.done),
            next=(
                Work(VOID, self._pace.seconds(SAFETY_NET_SECONDS), {"reason": reason}),
                *step.next,
            ),
        )
        after, moved = await self._apply(payment, move, within=within, also=step.also)
        if not moved.moved and moved.claim == "capture":
            raise CaptureWonError(payment_id=str(payment.id))
        return after

    async def send_void(
        self,
        payment: Payment,
        reason: str,
        *,
        patience_seconds: float = NO_PATIENCE,
        earlier_attempts: int = 0,
    ) -> Payment:
        """Tell the gateway to void what was claimed, until there is evidence (decision 8)."""
        if payment.state is not PaymentState.AUTHORIZED:
            return payment
        assert payment.gateway_transaction_id is not None, "what is voided was authorised"
        transaction_id = payment.gateway_transaction_id
        try:
            answer = await persist(
                lambda: self._gateway.void(transaction_id, reason, key=key_of(payment.id, VOID)),
                pace=self._pace,
                patience_seconds=patience_seconds,
                earlier_attempts=earlier_attempts,
            )
        except AlreadyVoidedError:
            return await self.voided(payment)
        except AuthorizationExpiredError:
            return await self.voided(payment, event=BeyondEvent.AUTHORIZATION_EXPIRED)
        except AlreadyCapturedError:
            return await self._captured_behind_our_back(payment)
        if isinstance(answer, Unanswered):
            return await self._unanswered(payment, VOID, answer)
        return await self.voided(payment)

    async def voided(
        self,
        payment: Payment,
        *,
        event: AnyEvent = PaymentEvent.CANCEL_BEFORE_CAPTURE,
        facts: dict[str, Any] | None = None,
    ) -> Payment:
        """Record that the gateway holds nothing any more for a payment claimed for void."""
        move = move_of(
            payment,
            event,
            source="voided",
            outcome="known",
            facts=facts,
            entries=postings.released(payment.authorised_amount),
            done=(VOID, PROBE),
        )
        return (await self._apply(payment, move))[0]

    async def undo(self, payment: Payment, transaction_id: str) -> bool:
        """Give back what the gateway holds or took for a payment that ended; True when it has.

        Raises:
            GatewayFailure: the gateway gave no usable answer; say it again later.
        """
        transaction = await self._gateway.find(transaction_id)
        if transaction is None or transaction.status not in HELD | TAKEN:
            return True
        reason = f"the payment is {payment.state}"
        if transaction.status in HELD:
            key = key_of(payment.id, "undo-void")
            await self._gateway.void(transaction_id, reason, key=key)
            return True
        key = key_of(payment.id, "undo-refund")
        await self._gateway.refund(transaction_id, transaction.captured_amount, reason, key=key)
        return True

    async def apply(self, payment: Payment, move: Move, *, step: Step | None = None) -> Payment:
        """Apply a move with the step a flow adds to it; return the payment as it stands."""
        if step is None:
            return (await self._apply(payment, move))[0]
        move = _with_step(move, step)
        return (await self._apply(payment, move, also=step.also))[0]

    # -- what the answers mean ---------------------------------------------------------------

    async def _funds_reserved(
        self, payment: Payment, transaction: GatewayTransaction, flow: Flow, *, source: str
    ) -> Payment:
        step = await flow.when_authorised(payment)
        move = move_of(
            payment,
            PaymentEvent.FUNDS_RESERVED,
            source="authorised",
            outcome="known",
            facts={"told_by": source},
            gateway_transaction_id=transaction.id,
            capture_before=transaction.capture_before,
            authorised=payment.amount,
            entries=postings.authorised(payment.amount),
            done=(AUTHORISE, PROBE),
        )
        after = await self.apply(payment, move, step=step)
        return await flow.carry_on(after)

    async def _declined(
        self, payment: Payment, transaction: GatewayTransaction, flow: Flow, *, source: str
    ) -> Payment:
        code = transaction.decline_code or ""
        if decline_kind(code) is GatewayErrorKind.UNRECOGNISED:
            unanswered = Unanswered(
                GatewayErrorKind.UNRECOGNISED, None, True,
                f"The gateway says failed with a code nobody knows: {code or 'none'}.",
            )  # fmt: skip
            return await self._unanswered(payment, AUTHORISE, unanswered, transaction.id)
        return await self.fail(
            payment, PaymentEvent.GATEWAY_REJECTION, flow, code, transaction.id, told_by=source
        )

    async def fail(
        self,
        payment: Payment,
        event: AnyEvent,
        flow: Flow,
        code: str,
        transaction_id: str | None = None,
        **facts: object,
    ) -> Payment:
        """End an attempt that is known not to have charged anybody (Diagram 7 follows)."""
        step = await flow.when_failed(payment)
        move = move_of(
            payment,
            event,
            source="failed",
            outcome="known",
            decline_code=code,
            facts=facts,
            gateway_transaction_id=transaction_id,
            done=(AUTHORISE, PROBE),
        )
        after = await self.apply(payment, move, step=step)
        return await flow.carry_on(after)

    async def _still_open(self, payment: Payment, transaction: GatewayTransaction) -> Payment:
        probe = Work(PROBE, self._pace.seconds(HOSTED_PAGE_PROBE_SECONDS))
        move = move_of(
            payment,
            Remark.CUSTOMER_ACTION_REQUIRED
            if transaction.status is TransactionStatus.REQUIRES_ACTION
            else Remark.GATEWAY_CALLED,
            source=f"open:{transaction.status}",
            outcome="known",
            gateway_transaction_id=transaction.id,
            hosted_page_url=transaction.hosted_page_url,
            done=(AUTHORISE,),
            next=(probe,),
        )
        return (await self._apply(payment, move))[0]

    async def _authorisation_unanswered(
        self, payment: Payment, flow: Flow, unanswered: Unanswered
    ) -> Payment:
        never_reached = unanswered.wait_seconds is None and not unanswered.maybe_sent
        may_fail = not_sent_consequence(payment.type) is NotSentConsequence.FAIL_PAYMENT
        if never_reached and may_fail:
            await self._alert("gateway_unreachable", payment.id, unanswered.because)
            return await self.fail(payment, BeyondEvent.NEVER_SENT, flow, NEVER_REACHED)
        return await self._unanswered(payment, AUTHORISE, unanswered)

    async def _unanswered(
        self,
        payment: Payment,
        operation: str,
        unanswered: Unanswered,
        transaction_id: str | None = None,
    ) -> Payment:
        """Put the operation off to its next retry, or record that its outcome is unknown."""
        if unanswered.wait_seconds is not None:
            due_in = self._pace.seconds(unanswered.wait_seconds)
            await self._books.work.postpone(
                operation, payment.id, due_in=due_in, because=unanswered.because
            )
            return payment
        await self._alert("gateway_outcome_unknown", payment.id, unanswered.because)
        first_probe = self._pace.seconds(FIRST_PROBE_SECONDS)
        if payment.outcome == "unknown":
            await self._books.work.postpone(PROBE, payment.id, due_in=first_probe)
            return payment
        move = move_of(
            payment,
            Remark.OUTCOME_UNKNOWN,
            source=f"unknown:{operation}:{payment.version}",
            outcome="unknown",
            facts={"operation": operation, "because": unanswered.because},
            gateway_transaction_id=transaction_id,
            done=(operation,),
            next=(Work(PROBE, first_probe, {"operation": operation}),),
        )
        return (await self._apply(payment, move))[0]

    async def capture_accepted(self, payment: Payment) -> Payment:
        """Record that the gateway has the capture; the bank's word comes later."""
        move = move_of(
            payment,
            Remark.CAPTURE_ACCEPTED,
            source="captured",
            outcome="known",
            done=(CAPTURE, PROBE),
            next=(Work(POLL_SETTLEMENT, self._pace.seconds(FIRST_POLL_SECONDS)),),
        )
        return (await self._apply(payment, move))[0]

    async def _capture_refused(
        self, payment: Payment, refusal: RefusedByPartnerError
    ) -> Payment:
        """Delivered, and the gateway will not pay: never charged again, CaaS takes the loss."""
        move = move_of(
            payment,
            BeyondEvent.CAPTURE_REFUSED,
            source="capture-refused",
            outcome="known",
            facts={"because": refusal.refusal},
            entries=postings.lost_before_settlement(refusal.refusal, payment.amount),
            done=(CAPTURE, PROBE, POLL_SETTLEMENT),
        )
        await self._alert("capture_refused", payment.id, refusal.sentence)
        return (await self._apply(payment, move))[0]

    async def _captured_behind_our_back(self, payment: Payment) -> Payment:
        """The gateway captured what we void: give it back at once and open a case (decision 8)."""
        assert payment.gateway_transaction_id is not None
        await self._books.cases.open(
            "captured_instead_of_voided",
            payment.id,
            "The gateway had captured a charge that was voided; it is being refunded.",
        )
        transaction_id = payment.gateway_transaction_id
        key = key_of(payment.id, "refund-of-void")
        reason = "captured instead of voided"
        answer = await persist(
            lambda: self._gateway.refund(transaction_id, payment.amount, reason, key=key),
            pace=self._pace,
        )
        if isinstance(answer, Unanswered):
            return await self._unanswered(payment, VOID, answer)
        return await self.voided(payment, facts={"given_back_by": "refund", "refund": answer.id})

    # -- applying ----------------------------------------------------------------------------

    async def _apply(
        self,
        payment: Payment,
        move: Move,
        *,
        within: Connection | None = None,
        also: Callable[[Connection, Payment], Awaitable[None]] | None = None,
    ) -> tuple[Payment, Moved]:
        if within is not None or also is None:
            moved = await self._books.moves.apply(move, within=within)
            after = await self._after(payment, move, moved, within=within)
            if also is not None and within is not None and moved.moved:
                await also(within, after)
            return after, moved

        async def together(connection: Connection) -> tuple[Payment, Moved]:
            return await self._apply(payment, move, within=connection, also=also)

        return await self._books.database.in_transaction(together)

    async def _after(
        self, payment: Payment, move: Move, moved: Moved, *, within: Connection | None
    ) -> Payment:
        if not moved.moved:
            return await self._books.payments.get(payment.id, within=within)
        changes = {
            name: value
            for name in ("gateway_transaction_id", "hosted_page_url", "decline_code",
                         "capture_before", "outcome")
            if (value := getattr(move, name)) is not None
        }  # fmt: skip
        return dataclasses.replace(
            payment,
            state=moved.state,
            version=moved.version,
            authorised_amount=payment.authorised_amount + (move.authorised or 0),
            captured_amount=payment.captured_amount + (move.captured or 0),
            settled_amount=payment.settled_amount + (move.settled or 0),
            refunded_amount=payment.refunded_amount + (move.refunded or 0),
            disputed_amount=payment.disputed_amount + (move.disputed or 0),
            **changes,
        )

    def _request_for(self, payment: Payment) -> TransactionRequest:
        return TransactionRequest(
            reference=str(payment.id),
            amount=payment.amount,
            currency=payment.currency,
            capture=CaptureMode.MANUAL,
            customer_reference=str(payment.customer),
            description=f"CaaS {payment.type} {payment.subject}",
            payment_method=payment.payment_method,
            return_url=payment.return_url,
        )


def _with_step(move: Move, step: Step) -> Move:
    """Add what a flow commits to the move that every payment makes."""
    return Move(
        **{
            **{name: getattr(move, name) for name in Move.__struct_fields__},
            "facts": {**(move.facts or {}), **step.facts},
            "done": (*(move.done or ()), *step.done),
            "next": (*(move.next or ()), *step.next),
            "command": step.command or move.command,
        }
    )
