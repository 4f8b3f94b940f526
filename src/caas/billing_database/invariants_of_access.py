"""Invariants of access and dual control: links, second factors, privileges, two persons.

An approver has an account other than the proposer's.

Rule a change must keep: every table that `caas.dual_control` decides in is included.
"""

from typing import Final

from caas.billing_database.database_sessions import APPLICATION_ROLE
from caas.billing_database.embedded_postgresql import SERVICE_LOGIN
from caas.billing_database.migrations import APPEND_ONLY, BEHIND_DOORS, EMPTIED

OURS: Final = f"'{APPLICATION_ROLE}', '{SERVICE_LOGIN}'"
WRITING: Final = "('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER', 'REFERENCES')"


def _among(tables: str) -> str:
    return f"c.relname = any (string_to_array('{tables}', ', '))"


ACCESS: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "one_access_link_works",
        "A person has at most one valid access link.",
        """select customer::text from access_credentials
            where used_at is null and expires_at > db_now() group by customer having count(*) > 1
           union all
           select account::text from staff_links
            where used_at is null and expires_at > db_now() group by account having count(*) > 1""",
    ),
    (
        "nobody_resets_their_own_second_factor",
        "A second factor is reset only by another operator, and its recovery codes belong to it.",
        """select f.id::text from second_factors f left join accounts a on a.id = f.ended_by
            where f.ended_at is not null
              and (f.ended_by = f.account or a.role is distinct from 'operations')
           union all
           select c.factor::text from recovery_codes c join second_factors f on f.id = c.factor
            where f.confirmed_at is null""",
    ),
    (
        "only_the_platform_writes",
        "Only the owner and the platform's role can write a table, with the intended privileges.",
        f"""select concat_ws(' ', c.relname, 'may be changed by', coalesce(r.rolname, 'everybody'),
                            lower(a.privilege_type))
             from pg_class c
            cross join lateral aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a
             left join pg_roles r on r.oid = a.grantee
            where c.relnamespace = 'caas'::regnamespace and c.relkind in ('r', 'p', 'v')
              and a.grantee <> c.relowner and a.privilege_type in {WRITING}
              and not (r.rolname is not distinct from '{APPLICATION_ROLE}' and case a.privilege_type
                when 'INSERT' then not {_among(BEHIND_DOORS)}
                when 'UPDATE' then not {_among(BEHIND_DOORS)} and not {_among(APPEND_ONLY)}
                when 'DELETE' then {_among(EMPTIED)} else false end)
           union all
           select concat_ws(' ', c.relname, 'may be changed in', t.attname)
             from pg_class c join pg_attribute t on t.attrelid = c.oid
            cross join lateral aclexplode(t.attacl) a
            where c.relnamespace = 'caas'::regnamespace and a.grantee <> c.relowner
              and a.privilege_type in {WRITING}
           union all
           select concat_ws(' ', c.relname, 'belongs to', c.relowner::regrole)
             from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where n.nspname = 'caas' and c.relowner <> n.nspowner""",
    ),
    (
        "the_platform_cannot_undo_guards",
        "The platform's database roles have no privileges beyond reading and writing their tables.",
        f"""select rolname || ' has rights over the server' from pg_roles
            where rolname in ({OURS}) and (rolsuper or rolcreaterole or rolcreatedb
                                           or rolbypassrls or rolreplication)
           union all
           select concat_ws(' ', u.rolname, 'is also', r.rolname) from pg_auth_members m
             join pg_roles u on u.oid = m.member join pg_roles r on r.oid = m.roleid
            where u.rolname in ({OURS})
              and (u.rolname, r.rolname) <> ('{SERVICE_LOGIN}', '{APPLICATION_ROLE}')
           union all
           select 'a login begins as a replica' from pg_db_role_setting
            where array_to_string(setconfig, ',') like '%session_replication_role%'""",
    ),
)


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
