"""Dual control: what one person proposes, another one approves or rejects (decision 50).

A person is an account. Names do not count: one account's session and any of its API keys are the
same person, and whatever belongs to no account (keys of the settings, the command line) can propose
and reject, and never approves. Discrepancies above a limit, held deposits above it, unknown
outcomes and keys for operations are decided here.

Rules a change must keep: approval is judged inside the transaction that decides; the database
refuses the same again by itself (`refuse_one_person`).
"""

from typing import Final, Protocol, TypeVar
from uuid import UUID

from caas.billing_database.actors import Actor, may_approve
from caas.billing_database.connection import Connection, Database
from caas.billing_database.free_text import refuse_identifying, refuse_personal_data
from caas.errors import ConflictError, RefusedError
from caas.rules.card_numbers import contains_card_number

NOTE_CHARS_MAX: Final = 1000
FORBIDDEN: Final = 403


class NoteRefusedError(RefusedError):
    """A note has between one and a thousand characters and no card number in it."""

    code = "note_refused"


class DecisionPendingError(ConflictError):
    """A proposal waits already; another person approves or rejects it."""

    code = "decision_pending"


class NothingProposedError(ConflictError):
    """Nothing waits for a second person's decision."""

    code = "nothing_proposed"


class SamePersonError(ConflictError):
    """Whoever proposed a decision cannot be its second approver, with any key or session."""

    code = "same_person"


class ApprovalNeedsAccountError(RefusedError):
    """Only a person's account can approve; keys of the settings and the command line have none.

    Sign in to the console, or use an API key that was made there.
    """

    code = "approval_needs_account"
    http_status = FORBIDDEN


class ApproverNotValidError(RefusedError):
    """The approving account is closed or not of operations, or its key is revoked or not active."""

    code = "approver_not_valid"
    http_status = FORBIDDEN


class Proposal(Protocol):
    """What waits for a second person."""

    @property
    def id(self) -> UUID:
        """Which proposal it is."""

    @property
    def proposed_account(self) -> UUID | None:
        """Who proposed it; None where that was no account."""


Proposed_co = TypeVar("Proposed_co", bound=Proposal, covariant=True)


class Proposals(Protocol[Proposed_co]):
    """A table of proposals, each about one subject."""

    async def proposed(self, subject: UUID, *, within: Connection) -> Proposed_co | None:
        """Return what waits for a decision about a subject."""

    async def decide(
        self, proposal_id: UUID, *, approved: bool, by: Actor, within: Connection
    ) -> bool:
        """Write the decision down; False when somebody else has decided."""


def checked_note(text: str) -> str:
    """Return a note without the blanks around it.

    Raises:
        NoteRefusedError: it is empty, too long, or holds a card number.
        PersonalDataRefusedError: it says who somebody is.
    """
    stripped = text.strip()
    if not 0 < len(stripped) <= NOTE_CHARS_MAX or contains_card_number(stripped):
        raise NoteRefusedError
    refuse_identifying(stripped)
    return stripped


async def checked_note_about(by: Database, about: UUID, text: str) -> str:
    """Return a note about what `about` leads to, as `checked_note` does.

    Raises:
        NoteRefusedError: it is empty, too long, or holds a card number.
        PersonalDataRefusedError: it says who somebody is, such as the customer.
    """
    note = checked_note(text)
    await refuse_personal_data(by, about, note)
    return note


async def approve(
    proposals: Proposals[Proposed_co], subject: UUID, *, by: Actor, within: Connection
) -> Proposed_co:
    """Approve, as the second person, what waits about a subject; return it.

    Raises:
        ApprovalNeedsAccountError: no account approves.
        NothingProposedError: nothing waits, or somebody was faster.
        SamePersonError: the account that proposed it approves.
        ApproverNotValidError: the account or its key is not valid at this moment.
    """
    if by.account is None:
        raise ApprovalNeedsAccountError
    proposal = await _waiting(proposals, subject, within)
    if proposal.proposed_account == by.account:
        raise SamePersonError
    if not await may_approve(by, within=within):
        raise ApproverNotValidError
    if not await proposals.decide(proposal.id, approved=True, by=by, within=within):
        raise NothingProposedError
    return proposal


async def reject(
    proposals: Proposals[Proposed_co], subject: UUID, *, by: Actor, within: Connection
) -> Proposed_co:
    """Reject what waits about a subject, as its proposer or as another; return it.

    Raises:
        NothingProposedError: nothing waits, or somebody was faster.
    """
    proposal = await _waiting(proposals, subject, within)
    if not await proposals.decide(proposal.id, approved=False, by=by, within=within):
        raise NothingProposedError
    return proposal


async def withdraw(
    database: Database, proposals: Proposals[Proposed_co], subject: UUID, *, by: Actor
) -> None:
    """Take a proposal back, one's own or another's, in a transaction of its own.

    Raises:
        NothingProposedError: none waits.
    """

    async def alone(connection: Connection) -> None:
        await reject(proposals, subject, by=by, within=connection)

    await database.in_transaction(alone)


async def _waiting(
    proposals: Proposals[Proposed_co], subject: UUID, within: Connection
) -> Proposed_co:
    proposal = await proposals.proposed(subject, within=within)
    if proposal is None:
        raise NothingProposedError
    return proposal
