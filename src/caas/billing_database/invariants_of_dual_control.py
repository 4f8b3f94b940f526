"""Invariants of dual control: the approver has an account other than the proposer's.

Rule a change must keep: every table that `caas.dual_control` decides in is included.
"""

from typing import Final

DUAL_CONTROL: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "nobody_approves_their_own_proposal",
        "Every proposal was approved by an account other than the one that proposed it.",
        """with since (at) as (select min(ran_at) from migrations),
                approved (id, proposer, approver, at) as (
             select id, proposed_account, decided_account, decided_at from outcome_decisions
              where state = 'agreed'
             union all
             select id, proposed_account, decided_account, decided_at from deposit_decisions
              where state = 'agreed' and needs_second
             union all
             select id, proposed_account, decided_account, decided_at from refund_decisions
              where state = 'agreed' and needs_second
             union all
             select id, proposed_account, decided_account, decided_at from discrepancy_resolutions
              where state = 'approved' and needs_second_approver
             union all
             select id, proposed_account, decided_account, decided_at from credit_note_decisions
              where state = 'agreed')
           select a.id from approved a, since
            where a.approver = a.proposer or (a.approver is null and a.at > since.at)""",
    ),
    (
        "operations_keys_have_two_people",
        "A key with operations scope was created by one account and activated by another.",
        """select id from api_keys
            where account is not null and scopes && array['operations', 'any']
              and activated_at is not null
              and (activated_account is null or activated_account = account)""",
    ),
)
