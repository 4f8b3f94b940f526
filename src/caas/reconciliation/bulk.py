"""Bulk resolution of discrepancies by rule, and claims on the provider.

Rule a change must keep: the approval limit applies to the total of a rule, so that splitting a
large amount does not avoid the second approver.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import date
from typing import Final, Literal
from uuid import UUID

import msgspec

from caas import dual_control
from caas.billing_database.accounts import Actor
from caas.billing_database.bulk_proposals import BulkProposals, ProposedBulk
from caas.billing_database.connection import Connection
from caas.billing_database.discrepancies import (
    Discrepancies,
    Discrepancy,
    DiscrepancyFilter,
)
from caas.billing_database.free_text import refuse_identifying
from caas.billing_database.gateway_claims import ClaimPostedError, GatewayClaim, GatewayClaims
from caas.billing_database.identifiers import new_id
from caas.billing_database.reconciliation_days import DaySealedError
from caas.billing_database.tables import BillingDatabase
from caas.dual_control import (
    DecisionPendingError,
    NothingProposedError,
    checked_note,
    decided_already,
)
from caas.errors import NotFoundError, RefusedError
from caas.payment_processing.dispute_losses import DisputeLosses
from caas.reconciliation.investigation import DECIDABLE, Investigation
from caas.reconciliation.proposals import InBulk
from caas.reconciliation.validation import (
    DiscrepancyResolvedError,
    RefundMadeError,
    RefundOnItsWayError,
    ResolutionNotAllowedError,
)
from caas.rules.card_numbers import contains_card_number
from caas.rules.discrepancies import DiscrepancyKind, Resolution, is_large, needs_second_approver
from caas.rules.money import Money

BULK_MAX: Final = 1_000
RECEIPT_CHARS_MAX: Final = 200
NOT_POSSIBLE: Final = (
    ResolutionNotAllowedError, DiscrepancyResolvedError, DecisionPendingError, RefundMadeError,
    RefundOnItsWayError, ClaimPostedError, DaySealedError,
)  # fmt: skip
"""What one discrepancy is left for, by others or by itself, while the others are decided."""
ClaimStatus = Literal["sent", "accepted", "paid", "refused"]


class RuleTooWideError(RefusedError):
    """The rule matches more than 1000 discrepancies. Add a day, a kind or a smaller amount."""

    code = "rule_too_wide"


class BulkNotFoundError(NotFoundError):
    """No bulk resolution with proposals has this id."""

    code = "bulk_not_found"


class ReceiptRefusedError(RefusedError):
    """A submitted claim needs the provider's receipt: 1 to 200 characters, no card number."""

    code = "receipt_refused"


class BulkRule(msgspec.Struct, frozen=True, kw_only=True):
    """Which discrepancies to resolve: kind, currency, day, and maximum amount."""

    kind: DiscrepancyKind
    currency: str
    day: date | None = None
    amount_max: int | None = None

    def matches(self, found: Discrepancy) -> bool:
        """Return whether the rule matches a discrepancy."""
        return (
            found.status in DECIDABLE
            and found.currency == self.currency
            and (self.amount_max is None or found.amount <= self.amount_max)
        )


class BulkDone(msgspec.Struct):
    """Result of a bulk resolution; `left` are those for which it is not offered."""

    id: UUID
    met: int
    amount: int
    currency: str
    needs_second_approver: bool
    by_status: dict[str, int] = msgspec.field(default_factory=lambda: defaultdict(int))
    left: list[UUID] = msgspec.field(default_factory=list)


class BulkDecided(msgspec.Struct, frozen=True):
    """How many proposals of a rule were decided, and those left that cannot be any more."""

    decided: int
    left: list[UUID]


class Bulk:
    """Resolves discrepancies by rule."""

    def __init__(
        self,
        tables: BillingDatabase,
        *,
        discrepancies: Discrepancies,
        investigation: Investigation,
        proposals: BulkProposals,
        claims: GatewayClaims,
        gateways: Sequence[str],
    ) -> None:
        """Use these gateways' discrepancies and claims."""
        self._tables = tables
        self._losses = DisputeLosses(tables)
        self._discrepancies = discrepancies
        self._investigation = investigation
        self._proposals = proposals
        self._claims = claims
        self._gateways = gateways

    async def resolve(
        self, rule: BulkRule, *, resolution: Resolution, note: str, by: Actor
    ) -> BulkDone:
        """Resolve every matching discrepancy, or propose it if the total needs a second approver.

        Raises:
            RuleTooWideError: it matches too many.
        """
        text = checked_note(note)
        met = await self._met(rule)
        amount = sum(found.amount for found in met)
        second = needs_second_approver(resolution, Money(amount, rule.currency))
        done = BulkDone(new_id(), len(met), amount, rule.currency, second)
        in_bulk = InBulk(done.id, needs_second_approver=second)
        for found in met:
            try:
                after = await self._investigation.resolve(
                    found.id, resolution=resolution, note=text, by=by, in_bulk=in_bulk
                )
                done.by_status[after.status] += 1
            except NOT_POSSIBLE:
                done.by_status["not offered"] += 1
                done.left.append(found.id)
        return done

    async def approve(self, bulk_id: UUID, *, by: Actor) -> BulkDecided:
        """Approve a proposed bulk resolution as the second person.

        What cannot be decided so any more is left, still proposed, to be rejected.

        Raises:
            SamePersonError: the proposer cannot approve.
            BulkNotFoundError: nothing was proposed under this id.
            AlreadyApprovedError, AlreadyRejectedError: it was decided before.
        """

        async def approve(discrepancy_id: UUID) -> object:
            return await self._investigation.approve(discrepancy_id, by=by)

        return await self._decide_each(bulk_id, approve)

    async def reject(self, bulk_id: UUID, *, note: str, by: Actor) -> int:
        """Reject a proposed bulk resolution; return the number of discrepancies reopened.

        Raises:
            BulkNotFoundError: nothing was proposed under this id.
            AlreadyApprovedError, AlreadyRejectedError: it was decided before.
        """
        text = checked_note(note)

        async def reject(discrepancy_id: UUID) -> object:
            return await self._investigation.reject(discrepancy_id, note=text, by=by)

        return (await self._decide_each(bulk_id, reject)).decided

    async def _decide_each(
        self, bulk_id: UUID, decide: Callable[[UUID], Awaitable[object]]
    ) -> BulkDecided:
        """Decide what is still proposed, beside another person who may be doing so as well."""
        decided, left = 0, []
        for discrepancy_id in await self._proposals.proposed_in(bulk_id):
            with suppress(NothingProposedError):
                try:
                    await decide(discrepancy_id)
                    decided += 1
                except NOT_POSSIBLE:
                    left.append(discrepancy_id)
        if not decided and not left:
            last = await self._proposals.last_decision(bulk_id)
            raise BulkNotFoundError if last is None else decided_already(last)
        return BulkDecided(decided, left)

    async def proposed(self) -> list[ProposedBulk]:
        """Return bulk resolutions awaiting approval, oldest first."""
        found = [it for name in self._gateways for it in await self._proposals.waiting(name)]
        return sorted(found, key=lambda it: it.proposed_at)

    async def claims(
        self, *, status: str | None = None, open_only: bool = False
    ) -> list[GatewayClaim]:
        """Return claims on the provider, earliest due date first."""
        found = [
            it
            for name in self._gateways
            for it in await self._claims.listed(name, status=status, open_only=open_only)
        ]
        return sorted(found, key=lambda it: it.due_on)

    async def claim_step(
        self,
        discrepancy_id: UUID,
        status: ClaimStatus,
        *,
        receipt: str | None,
        note: str,
        by: Actor,
    ) -> GatewayClaim:
        """Update the status of a claim.

        A refusal above the single-approver limit is a loss under dual control: the first account
        proposes it and a second one approves.

        Raises:
            ReceiptRefusedError: the new status requires a receipt.
            ClaimNotFoundError, ClaimEndedError: no such claim, or it is closed.
            SamePersonError, ApprovalNeedsAccountError, ApproverNotValidError: the refusal needs
                another approver.
            LineAwaitedError: the claim ends when the payment's line arrives.
        """
        claim = await self._claims.get(discrepancy_id)
        known = receipt or claim.receipt
        if (status != "refused" and not known) or (
            receipt and (len(receipt) > RECEIPT_CHARS_MAX or contains_card_number(receipt))
        ):
            raise ReceiptRefusedError
        refuse_identifying(receipt)
        text = checked_note(note)
        if status == "refused" and is_large(Money(claim.amount, claim.currency)):
            return await self._refused(claim, by=by, note=text)
        return await self._claims.step(
            discrepancy_id, status, receipt=receipt, by=by.name, note=text, also=self._balance
        )

    async def _refused(self, claim: GatewayClaim, *, by: Actor, note: str) -> GatewayClaim:
        if claim.refusal_by is None:
            return await self._claims.propose_refusal(claim.discrepancy_id, by=by, note=note)

        async def together(connection: Connection) -> None:
            await dual_control.approve(
                self._claims.refusals(note), claim.discrepancy_id, by=by, within=connection
            )
            await self._balance(claim.discrepancy_id, connection)

        await self._claims.database.in_transaction(together)
        return await self._claims.get(claim.discrepancy_id)

    async def _balance(self, discrepancy_id: UUID, connection: Connection) -> None:
        """Balance the losses of a payment that got one back from a claim, in its commit."""
        found = await self._discrepancies.get(discrepancy_id, within=connection)
        if found.payment_id is not None:
            payment = await self._tables.payments.get(found.payment_id, within=connection)
            await self._losses.balance(payment, within=connection)

    async def _met(self, rule: BulkRule) -> list[Discrepancy]:
        asked = DiscrepancyFilter(kind=rule.kind, day=rule.day, unresolved=True)
        met: list[Discrepancy] = []
        page = await self._discrepancies.listed(asked)
        while page:
            met += [found for found in page if rule.matches(found)]
            if len(met) > BULK_MAX:
                raise RuleTooWideError
            page = await self._discrepancies.listed(asked, after=page[-1].id)
        return met
