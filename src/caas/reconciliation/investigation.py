"""Diagram 10, "Manual investigation required": how people resolve a discrepancy (decision 35).

A discrepancy has an owner, an age and a due date. People add notes and documents, and choose one of
the resolutions its kind allows. Above a limit a second person must approve.

Rules a change must keep: rows are never edited; every step is an event with an author; notes and
documents contain no card number.
"""

from datetime import timedelta
from typing import Final
from uuid import UUID

import msgspec

from caas import dual_control
from caas.billing_database.accounts import Actor
from caas.billing_database.connection import Connection
from caas.billing_database.decided_money import given_up
from caas.billing_database.discrepancies import (
    AttachedEvidence,
    Discrepancies,
    Discrepancy,
    DiscrepancyEvent,
    ProposedResolution,
    Step,
)
from caas.billing_database.free_text import refuse_personal_data
from caas.billing_database.gateway_claims import GatewayClaims
from caas.billing_database.reconciliation_days import ReconciliationDays
from caas.billing_database.settlement_reports import SettlementReports, StoredLine
from caas.billing_database.tables import BillingDatabase
from caas.reconciliation.fees import compare_fee, end_fee
from caas.reconciliation.own_refunds import OwnRefunds
from caas.reconciliation.proposals import InBulk, proposal_of
from caas.reconciliation.reinstating import (
    end_claims,
    end_what_waited,
    refund_if_undone,
    wait_again,
)
from caas.reconciliation.resolution_actions import APPLY_RESOLUTION, ResolutionActions
from caas.reconciliation.taking_back import standing_entries, taken_back
from caas.reconciliation.validation import (
    DiscrepancyResolvedError,
    DocumentNotFoundError,
    refuse_document,
    refuse_not_offered,
    refuse_not_refundable,
    refuse_refunded,
    refuse_undecidable,
    subject_of,
    was_lost,
)
from caas.rules.discrepancies import KINDS, Resolution
from caas.rules.postings import Entry
from caas.rules.resolutions import (
    GIVEN_UP,
    WITH_LOSSES,
    Action,
    Subject,
    offered,
    plan,
    reversed_,
)

DECIDABLE: Final = frozenset({"open", "waiting"})


class Investigated(msgspec.Struct, frozen=True):
    """A discrepancy with its line, history, documents and entries."""

    discrepancy: Discrepancy
    line: StoredLine | None
    events: list[DiscrepancyEvent]
    resolutions: list[ProposedResolution]
    evidence: list[AttachedEvidence]
    entries: list[Entry]
    allowed: tuple[Resolution, ...]
    refund_is_unchecked: bool = False


class Investigation:
    """Records notes, documents and decisions on discrepancies."""

    def __init__(
        self,
        tables: BillingDatabase,
        *,
        discrepancies: Discrepancies,
        reports: SettlementReports,
        days: ReconciliationDays,
        resolution_actions: ResolutionActions,
        claims: GatewayClaims,
        own_refunds: OwnRefunds,
    ) -> None:
        """Use these tables; `resolution_actions` applies decisions to payments."""
        self._claims, self._own_refunds = claims, own_refunds
        self._tables = tables
        self._positions = resolution_actions.positions
        self._discrepancies = discrepancies
        self._reports, self._days = reports, days
        self._resolution_actions = resolution_actions

    async def check(self, discrepancy_id: UUID, *, asks_gateway: bool = True) -> Investigated:
        """Return a discrepancy with its line, history, documents and entries.

        Without asking the gateway, it is not known whether a refund is possible.

        Raises:
            DiscrepancyNotFoundError: no discrepancy has this id.
        """
        found = await self._discrepancies.get(discrepancy_id)
        allowed = offered(await self._subject(found))
        refundable = self._resolution_actions.refundable
        narrows = found.status in DECIDABLE and refundable.narrows(found, allowed)
        if narrows and asks_gateway:
            allowed, _ = await refundable.narrowed(found, allowed)
        return Investigated(
            found,
            await self._line_of(found),
            await self._discrepancies.events(found.id),
            await self._discrepancies.resolutions(found.id),
            await self._discrepancies.evidence(found.id),
            await self._discrepancies.entries(found.id),
            tuple(sorted(allowed)),
            refund_is_unchecked=narrows and not asks_gateway,
        )

    async def assign(self, discrepancy_id: UUID, *, owner: str, by: str) -> Discrepancy:
        """Set the owner.

        Raises:
            DiscrepancyResolvedError: it is already resolved.
        """
        return await self._step(discrepancy_id, "assigned", by=by, owner=owner, owned_by=owner)

    async def note(self, discrepancy_id: UUID, *, text: str, by: str) -> Discrepancy:
        """Add a note; allowed on resolved discrepancies.

        Raises:
            NoteRefusedError: it is empty, too long, or contains a card number.
        """
        checked = await self._checked(discrepancy_id, text)
        return await self._step(discrepancy_id, "noted", by=by, even_resolved=True, note=checked)

    async def _checked(self, discrepancy_id: UUID, text: str) -> str:
        return await dual_control.checked_note_about(self._tables.database, discrepancy_id, text)

    async def attach(
        self, discrepancy_id: UUID, *, name: str, media_type: str, content: bytes, by: str
    ) -> UUID:
        """Attach a document; return its id.

        Raises:
            DocumentRefusedError: wrong type, too large, or contains a card number.
            PersonalDataRefusedError: its name identifies the customer.
        """
        refuse_document(name, media_type, content)
        await refuse_personal_data(self._tables.database, discrepancy_id, name)

        async def together(connection: Connection) -> UUID:
            found = await self._of_open_day(discrepancy_id, connection)
            evidence_id = await self._discrepancies.attach(
                found.id, name=name, media_type=media_type, content=content, by=by,
                within=connection,
            )  # fmt: skip
            step = Step(
                event="evidence attached",
                status=found.status,
                by=by,
                facts={"document": str(evidence_id), "name": name},
                resolution=found.resolution,
            )
            await self._discrepancies.step(found.id, step, within=connection)
            return evidence_id

        return await self._tables.database.in_transaction(together)

    async def resolve(
        self,
        discrepancy_id: UUID,
        *,
        resolution: Resolution,
        note: str,
        by: Actor,
        in_bulk: InBulk | None = None,
    ) -> Discrepancy:
        """Resolve a discrepancy, or propose it if a second approver is required.

        Raises:
            ResolutionNotAllowedError: this kind does not allow it.
            DiscrepancyResolvedError, DecisionPendingError: it is resolved or awaits approval.
        """
        text = await self._checked(discrepancy_id, note)
        if resolution is Resolution.REFUND_THE_CUSTOMER:
            found = await self._discrepancies.get(discrepancy_id)
            allowed = offered(await self._subject(found))
            narrowed, why = await self._resolution_actions.refundable.narrowed(found, allowed)
            refuse_not_refundable(found, why, narrowed)

        async def together(connection: Connection) -> tuple[Action, ...]:
            found = await self._of_open_day(discrepancy_id, connection)
            subject = await self._subject(found, within=connection)
            refuse_undecidable(found, resolution, offered(subject))
            proposed = proposal_of(found, resolution, text, by, in_bulk)
            await self._discrepancies.propose(found, proposed, within=connection)
            step = Step(
                event="proposed",
                status="proposed",
                by=by.name,
                facts={"resolution": resolution.value, "note": text},
            )
            await self._discrepancies.step(found.id, step, within=connection)
            if proposed.needs_second_approver:
                return ()
            await self._discrepancies.decide(proposed.id, approved=True, by=by, within=connection)
            return await self._decided(found, proposed, by=by, within=connection)

        actions = await self._tables.database.in_transaction(together)
        return await self._afterwards(discrepancy_id, actions)

    async def approve(self, discrepancy_id: UUID, *, by: Actor) -> Discrepancy:
        """Approve a proposed resolution as the second person.

        Raises:
            NothingProposedError, SamePersonError, ApprovalNeedsAccountError,
            ApproverNotValidError: see dual control.
        """

        async def together(connection: Connection) -> tuple[Action, ...]:
            found = await self._of_open_day(discrepancy_id, connection)
            proposed = await dual_control.approve(
                self._discrepancies, found.id, by=by, within=connection
            )
            return await self._decided(found, proposed, by=by, within=connection)

        actions = await self._tables.database.in_transaction(together)
        return await self._afterwards(discrepancy_id, actions)

    async def reject(self, discrepancy_id: UUID, *, note: str, by: Actor) -> Discrepancy:
        """Reject a proposed resolution; the discrepancy is open again.

        Raises:
            NothingProposedError: nothing awaits approval.
        """
        text = await self._checked(discrepancy_id, note)

        async def together(connection: Connection) -> None:
            found = await self._of_open_day(discrepancy_id, connection)
            await dual_control.reject(self._discrepancies, found.id, by=by, within=connection)
            step = Step(event="rejected", status="open", by=by.name, facts={"note": text})
            await self._discrepancies.step(found.id, step, within=connection)

        await self._tables.database.in_transaction(together)
        return await self._discrepancies.get(discrepancy_id)

    async def reopen(self, discrepancy_id: UUID, *, note: str, by: str) -> Discrepancy:
        """Reopen a resolved discrepancy: reverse its entries and what it did to disputes.

        Its pending changes are dropped. Other changes already applied to a payment remain.

        Raises:
            NotResolvedError, BalancedByItselfError: there is no decision.
            RefundMadeError, RefundOnItsWayError: the gateway refunded it, or may have.
            FeeDecidedError: the difference of its line's fee is decided.
        """
        text = await self._checked(discrepancy_id, note)

        async def together(connection: Connection) -> None:
            found = await self._of_open_day(discrepancy_id, connection)
            await self._own_refunds.refuse_reopening(found, within=connection)
            await self._tables.jobs.end(APPLY_RESOLUTION, found.id, within=connection)
            await self._claims.end(found.id, by=by, note=text, within=connection)
            line = await self._line_of(found, within=connection)
            await end_fee(self._discrepancies, found, line, connection)
            disputes = self._resolution_actions.disputes
            again = await disputes.take_back(found, within=connection)
            step = Step(
                event="reopened", status="open", by=by, facts={"note": text},
                entries=await taken_back(self._tables, self._discrepancies, found, connection),
            )  # fmt: skip
            await self._discrepancies.step(found.id, step, within=connection)
            await wait_again(self._tables, self._discrepancies, found, connection)
            await disputes.decide_again(again, found, within=connection)
            await self._positions.explain(found.payment_id, within=connection)

        await self._tables.database.in_transaction(together)
        return await self._afterwards(discrepancy_id)

    async def document(self, evidence_id: UUID) -> tuple[str, str, bytes]:
        """Return an attached document: name, media type, content.

        Raises:
            DocumentNotFoundError: no document has this id.
        """
        found = await self._discrepancies.evidence_content(evidence_id)
        if found is None:
            raise DocumentNotFoundError
        return found

    async def _of_open_day(self, discrepancy_id: UUID, connection: Connection) -> Discrepancy:
        """Return a locked discrepancy of a day that is not sealed."""
        found = await self._discrepancies.get(discrepancy_id, within=connection)
        await self._days.refuse_sealed(found.gateway, found.day, within=connection)
        return found

    async def _decided(
        self,
        found: Discrepancy,
        proposed: ProposedResolution,
        *,
        by: Actor,
        within: Connection,
    ) -> tuple[Action, ...]:
        """Post the entries of a decision in its transaction; return the remaining actions."""
        subject = await self._subject(found, within=within)
        refuse_not_offered(found, proposed.resolution, offered(subject))
        await refuse_refunded(found, within=within)
        await self._tables.jobs.end(APPLY_RESOLUTION, found.id, within=within)
        decided = plan(subject, proposed.resolution)
        posted = await standing_entries(self._tables, self._discrepancies, found, within)
        if posted:
            await self._claims.end(found.id, by=by.name, note=proposed.note, within=within)
        step = Step(
            event="resolved" if decided.ends else "approved",
            status="resolved" if decided.ends else "waiting",
            by=by.name,
            facts={"resolution": proposed.resolution.value},
            resolution=proposed.resolution.value,
            due_on=None if decided.ends else found.due_on + timedelta(KINDS[found.kind].due_days),
            entries=reversed_(posted) + decided.entries,
            decision=proposed.id,
        )
        await self._discrepancies.step(found.id, step, within=within)
        if decided.entries:
            line = await self._line_of(found, within=within)
            await compare_fee(self._discrepancies, found, line, within)
        if proposed.resolution is Resolution.REINSTATE_THE_PAYMENT and found.kind in GIVEN_UP:
            await refund_if_undone(self._tables, found, decided.entries, within)
            await end_claims(self._discrepancies, self._claims, found, within)
            await end_what_waited(self._tables, self._discrepancies, found, within)
        if proposed.resolution is Resolution.REINSTATE_THE_PAYMENT and subject.returns_own_refund:
            await self._own_refunds.take_back(found, within=within)
        if proposed.resolution is Resolution.CLAIM_FROM_GATEWAY:
            await self._claims.file(found.id, by=by.name, note=proposed.note, within=within)
        if decided.actions:
            await self._resolution_actions.enqueue(found, decided.actions, within=within)
        else:
            await self._positions.explain(found.payment_id, because=found.id, within=within)
        return decided.actions

    async def _afterwards(self, subject: UUID, actions: tuple[Action, ...] = ()) -> Discrepancy:
        """Run the actions that a decision requires of payments."""
        await self._resolution_actions.run_now(subject, actions)
        return await self._discrepancies.get(subject)

    async def _step(
        self,
        discrepancy_id: UUID,
        event: str,
        *,
        by: str,
        owner: str | None = None,
        even_resolved: bool = False,
        **facts: str,
    ) -> Discrepancy:
        async def together(connection: Connection) -> None:
            found = await self._of_open_day(discrepancy_id, connection)
            if found.status == "resolved" and not even_resolved:
                raise DiscrepancyResolvedError(discrepancy=str(found.id))
            step = Step(
                event=event, status=found.status, by=by, facts=dict(facts), owner=owner,
                resolution=found.resolution,
            )  # fmt: skip
            await self._discrepancies.step(found.id, step, within=connection)

        await self._tables.database.in_transaction(together)
        return await self._discrepancies.get(discrepancy_id)

    async def _subject(self, found: Discrepancy, *, within: Connection | None = None) -> Subject:
        payment = None
        if found.payment_id is not None:
            payment = await self._tables.payments.get(found.payment_id, within=within)
        losses: tuple[tuple[str, int], ...] = ()
        if payment is not None and found.kind in WITH_LOSSES:
            by = within or self._tables.database
            claimed = found.kind in GIVEN_UP
            losses = await given_up(payment.id, found.currency, with_claimed=claimed, within=by)
        line = await self._line_of(found, within=within)
        lost = await was_lost(self._discrepancies, found, within)
        back = await self._own_refunds.of(found, line, payment, within=within)
        return subject_of(found, line, payment, losses=losses, was_lost=lost, back=back)

    async def _line_of(
        self, found: Discrepancy, *, within: Connection | None = None
    ) -> StoredLine | None:
        if found.report_id is None or found.line_no is None:
            return None
        return await self._reports.line(found.report_id, found.line_no, within=within)
