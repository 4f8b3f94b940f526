"""Many discrepancies decided by one rule, and the claims that decisions filed on the provider.

Rules a change must keep: one by one or by rule, the same limits hold; a rule's whole amount decides
whether a second person must agree, so that many small amounts are not one large one in disguise.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date
from typing import Final, Literal
from uuid import UUID

from caas import dual_control
from caas.billing_database.actors import Actor
from caas.billing_database.connection import Connection
from caas.billing_database.discrepancies import (
    Discrepancies,
    Discrepancy,
    DiscrepancyFilter,
    ProposedBulk,
)
from caas.billing_database.free_text import refuse_identifying
from caas.billing_database.gateway_claims import GatewayClaim, GatewayClaims
from caas.billing_database.identifiers import new_id
from caas.dual_control import checked_note
from caas.errors import RefusedError
from caas.reconciliation.investigation import InBulk, Investigation
from caas.reconciliation.validation import ResolutionNotAllowedError
from caas.rules.card_numbers import contains_card_number
from caas.rules.discrepancies import DiscrepancyKind, Resolution, is_large, needs_second_approver
from caas.rules.money import Money

BULK_MAX: Final = 1_000
RECEIPT_CHARS_MAX: Final = 200
DECIDABLE: Final = frozenset({"open", "waiting"})
ClaimStatus = Literal["sent", "accepted", "paid", "refused"]


class RuleTooWideError(RefusedError):
    """The rule meets more than 1000 discrepancies; name a day, a kind or a smaller amount."""

    code = "rule_too_wide"


class ReceiptRefusedError(RefusedError):
    """A claim that was sent has the provider's receipt: 1 to 200 characters, no card number."""

    code = "receipt_refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkRule:
    """Which discrepancies a rule meets: of a kind, in a currency, of a day, up to an amount."""

    kind: DiscrepancyKind
    currency: str
    day: date | None = None
    amount_max: int | None = None

    def meets(self, found: Discrepancy) -> bool:
        """Whether it meets this one."""
        return (
            found.status in DECIDABLE
            and found.currency == self.currency
            and (self.amount_max is None or found.amount <= self.amount_max)
        )


@dataclass(slots=True)
class BulkDone:
    """What became of the discrepancies that a rule met."""

    id: UUID
    met: int
    amount: int
    currency: str
    needs_second_approver: bool
    by_status: dict[str, int] = field(default_factory=lambda: defaultdict(int))


class Bulk:
    """Decides by rule."""

    def __init__(
        self,
        *,
        discrepancies: Discrepancies,
        investigation: Investigation,
        claims: GatewayClaims,
        gateway: str,
    ) -> None:
        """Decide at this desk."""
        self._discrepancies = discrepancies
        self._investigation = investigation
        self._claims = claims
        self._gateway = gateway

    async def resolve(
        self, rule: BulkRule, *, resolution: Resolution, note: str, by: Actor
    ) -> BulkDone:
        """Decide everything that a rule meets, or propose to when a second person must agree.

        Raises:
            RuleTooWideError: it meets too many.
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
            except ResolutionNotAllowedError:
                done.by_status["not offered"] += 1
        return done

    async def approve(self, bulk_id: UUID, *, by: Actor) -> int:
        """Agree, as the second person, to all that one rule proposed; return how many.

        Raises:
            SamePersonError: whoever proposed it cannot approve it.
        """
        proposed = await self._discrepancies.proposed_in_bulk(bulk_id)
        for discrepancy_id in proposed:
            await self._investigation.approve(discrepancy_id, by=by)
        return len(proposed)

    async def reject(self, bulk_id: UUID, *, note: str, by: Actor) -> int:
        """Turn down all that one rule proposed; return how many."""
        text = checked_note(note)
        proposed = await self._discrepancies.proposed_in_bulk(bulk_id)
        for discrepancy_id in proposed:
            await self._investigation.reject(discrepancy_id, note=text, by=by)
        return len(proposed)

    async def proposed(self) -> list[ProposedBulk]:
        """Return what rules proposed and waits for a second person, the oldest first."""
        return await self._discrepancies.proposed_bulks(self._gateway)

    async def claims(
        self, *, status: str | None = None, open_only: bool = False
    ) -> list[GatewayClaim]:
        """Return the claims on the provider, the soonest due first."""
        return await self._claims.listed(self._gateway, status=status, open_only=open_only)

    async def claim_step(
        self,
        discrepancy_id: UUID,
        status: ClaimStatus,
        *,
        receipt: str | None,
        note: str,
        by: Actor,
    ) -> GatewayClaim:
        """Write down what became of a claim.

        Refused above the limit of one person, it is a loss that two decide about: the first one who
        says so proposes it, another account that says so agrees.

        Raises:
            ReceiptRefusedError: it was sent, accepted or paid, and has no receipt.
            ClaimNotFoundError, ClaimEndedError: there is none, or nothing changes any more.
            SamePersonError, ApprovalNeedsAccountError, ApproverNotValidError: the refusal waits for
                another person.
            LineAwaitedError: it ends with the line of its payment.
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
            discrepancy_id, status, receipt=receipt, by=by.name, note=text
        )

    async def _refused(self, claim: GatewayClaim, *, by: Actor, note: str) -> GatewayClaim:
        if claim.refusal_by is None:
            return await self._claims.propose_refusal(claim.discrepancy_id, by=by, note=note)

        async def together(connection: Connection) -> None:
            await dual_control.approve(
                self._claims.refusals(note), claim.discrepancy_id, by=by, within=connection
            )

        await self._claims.database.in_transaction(together)
        return await self._claims.get(claim.discrepancy_id)

    async def _met(self, rule: BulkRule) -> list[Discrepancy]:
        asked = DiscrepancyFilter(kind=rule.kind, day=rule.day, unresolved=True)
        met: list[Discrepancy] = []
        page = await self._discrepancies.listed(asked)
        while page:
            met += [found for found in page if rule.meets(found)]
            if len(met) > BULK_MAX:
                raise RuleTooWideError
            page = await self._discrepancies.listed(asked, after=page[-1].id)
        return met
