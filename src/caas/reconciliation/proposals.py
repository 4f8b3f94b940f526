"""The proposal of a decision about a discrepancy, alone or by a rule for many (decision 35)."""

from uuid import UUID

import msgspec

from caas.billing_database.accounts import Actor
from caas.billing_database.discrepancies import Discrepancy, ProposedResolution
from caas.billing_database.identifiers import new_id
from caas.rules.discrepancies import Resolution, needs_second_approver
from caas.rules.money import Money


class InBulk(msgspec.Struct, frozen=True):
    """The bulk resolution that a decision belongs to."""

    id: UUID
    needs_second_approver: bool


def proposal_of(
    found: Discrepancy, resolution: Resolution, note: str, by: Actor, in_bulk: InBulk | None
) -> ProposedResolution:
    """Return the proposal of a decision; the approval limit is that of its amount or its rule."""
    alone = needs_second_approver(resolution, Money(found.amount, found.currency))
    return ProposedResolution(
        id=new_id(),
        discrepancy_id=found.id,
        resolution=resolution,
        note=note,
        amount=found.amount,
        currency=found.currency,
        needs_second_approver=alone or (in_bulk is not None and in_bulk.needs_second_approver),
        state="proposed",
        proposed_by=by.name,
        proposed_account=by.account,
        proposed_at=found.updated_at,
        decided_by=None,
        decided_account=None,
        decided_at=None,
        bulk_id=in_bulk.id if in_bulk is not None else None,
    )
