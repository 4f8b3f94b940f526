"""Dual control: one person proposes, another approves or rejects (decision 107).

A person is an account: its sessions and all its API keys are the same person. Keys from the
settings and the command line have no account; they can propose and reject but never approve. Dual
control applies to large discrepancies and held deposits, unknown outcomes, and API keys for
operations.

Rule a change must keep: approval is checked inside the deciding transaction; the database enforces
it again (`refuse_one_person`).
"""

from typing import Final, Protocol, TypeVar
from uuid import UUID

from caas.billing_database.accounts import Actor, may_approve
from caas.billing_database.connection import Connection, Database
from caas.billing_database.decisions import LastDecision
from caas.billing_database.free_text import refuse_identifying, refuse_personal_data
from caas.errors import ConflictError, RefusedError
from caas.rules.card_numbers import contains_card_number

NOTE_CHARS_MAX: Final = 1000
FORBIDDEN: Final = 403


class NoteRefusedError(RefusedError):
    """A note has 1 to 1000 characters and no card number."""

    code = "note_refused"


class DecisionPendingError(ConflictError):
    """A proposal already exists. Another person must approve or reject it."""

    code = "decision_pending"


class NothingProposedError(ConflictError):
    """There is no proposal to decide."""

    code = "nothing_proposed"


class AlreadyApprovedError(NothingProposedError):
    """The proposal has been approved already."""

    code = "already_approved"


class AlreadyRejectedError(NothingProposedError):
    """The proposal has been rejected or withdrawn already."""

    code = "already_rejected"


class SamePersonError(ConflictError):
    """The proposer cannot approve, with any key or session."""

    code = "same_person"


class ApprovalNeedsAccountError(RefusedError):
    """Only a person's account can approve; keys of the settings and the command line have none.

    Sign in to the console, or use an API key that was made there.
    """

    code = "approval_needs_account"
    http_status = FORBIDDEN


class ApproverNotValidError(RefusedError):
    """The approving account is disabled or not of operations, or its key is revoked or inactive."""

    code = "approver_not_valid"
    http_status = FORBIDDEN


class Proposal(Protocol):
    """A decision that awaits approval."""

    @property
    def id(self) -> UUID:
        """Return the proposal's id."""

    @property
    def proposed_account(self) -> UUID | None:
        """Return the proposer's account; None if there was none."""


Proposed_co = TypeVar("Proposed_co", bound=Proposal, covariant=True)


class Proposals(Protocol[Proposed_co]):
    """A table of proposals, each about one subject."""

    async def proposed(self, subject: UUID, *, within: Connection) -> Proposed_co | None:
        """Return the pending proposal about a subject."""

    async def decide(
        self, proposal_id: UUID, *, approved: bool, by: Actor, within: Connection
    ) -> bool:
        """Record the decision; return False if it was already decided."""

    async def last_decision(self, subject: UUID, *, within: Connection) -> LastDecision | None:
        """Return how the last proposal about a subject ended; None if none has."""


def checked_note(text: str) -> str:
    """Return a validated note without surrounding blanks.

    Raises:
        NoteRefusedError: it is empty, too long, or contains a card number.
        PersonalDataRefusedError: it identifies a person.
    """
    stripped = text.strip()
    if not 0 < len(stripped) <= NOTE_CHARS_MAX or contains_card_number(stripped):
        raise NoteRefusedError
    refuse_identifying(stripped)
    return stripped


async def checked_note_about(by: Database, about: UUID, text: str) -> str:
    """Return a validated note that also does not identify the customer of `about`.

    Raises:
        NoteRefusedError: it is empty, too long, or contains a card number.
        PersonalDataRefusedError: it identifies a person, such as the customer.
    """
    note = checked_note(text)
    await refuse_personal_data(by, about, note)
    return note


async def approve(
    proposals: Proposals[Proposed_co], subject: UUID, *, by: Actor, within: Connection
) -> Proposed_co:
    """Approve the pending proposal as the second person; return it.

    Raises:
        ApprovalNeedsAccountError: the approver has no account.
        NothingProposedError: there is no proposal.
        AlreadyApprovedError, AlreadyRejectedError: it was decided before, by whom the error says.
        SamePersonError: the proposer cannot approve.
        ApproverNotValidError: the account or its key is not valid now.
    """
    if by.account is None:
        raise ApprovalNeedsAccountError
    proposal = await _waiting(proposals, subject, within)
    if proposal.proposed_account == by.account:
        raise SamePersonError
    if not await may_approve(by, within=within):
        raise ApproverNotValidError
    if not await proposals.decide(proposal.id, approved=True, by=by, within=within):
        raise decided_already(await proposals.last_decision(subject, within=within))
    return proposal


async def reject(
    proposals: Proposals[Proposed_co], subject: UUID, *, by: Actor, within: Connection
) -> Proposed_co:
    """Reject the pending proposal, one's own or another person's; return it.

    Raises:
        NothingProposedError: there is no proposal.
        AlreadyApprovedError, AlreadyRejectedError: it was decided before, by whom the error says.
    """
    proposal = await _waiting(proposals, subject, within)
    if not await proposals.decide(proposal.id, approved=False, by=by, within=within):
        raise decided_already(await proposals.last_decision(subject, within=within))
    return proposal


def decided_already(last: LastDecision | None) -> NothingProposedError:
    """Return the error that says by whom and when a proposal was decided, or that there is none."""
    if last is None:
        return NothingProposedError()
    done, error = (
        ("approved", AlreadyApprovedError) if last.approved else ("rejected", AlreadyRejectedError)
    )
    by = f" by {last.by}" if last.by else ""
    return error(
        f"The proposal was already {done}{by} at {last.at:%Y-%m-%d %H:%M:%S} UTC. "
        "No changes were made.",
        by=last.by,
        at=last.at,
    )


async def withdraw(
    database: Database, proposals: Proposals[Proposed_co], subject: UUID, *, by: Actor
) -> None:
    """Withdraw a proposal in a transaction of its own.

    Raises:
        NothingProposedError: there is no proposal.
    """

    async def alone(connection: Connection) -> None:
        await reject(proposals, subject, by=by, within=connection)

    await database.in_transaction(alone)


async def _waiting(
    proposals: Proposals[Proposed_co], subject: UUID, within: Connection
) -> Proposed_co:
    proposal = await proposals.proposed(subject, within=within)
    if proposal is None:
        raise decided_already(await proposals.last_decision(subject, within=within))
    return proposal
