"""The watch over the laws: what it finds at once, what at night, and what keeps it from finding."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from caas.billing_database import connection, invariant_scopes, self_check
from caas.billing_database.invariants import EVERY_INVARIANT, ONCE_A_ROW
from caas.billing_database.self_check import CheckLimits, CheckState, InvariantResult
from caas.invariant_monitor import INVARIANT_NOT_CHECKED, INVARIANT_VIOLATED
from caas.rules.check_terms import CheckTerms, CheckTermsError, read_check_terms
from caas.rules.payment_states import PaymentState
from tests.databases import fresh_database
from tests.installation import Installation, standing

A_CARD = "4111111111111111"
OTHER_CAR = "WVWZZZ1JZXW00OTHER"
UNREAD = "usage_disputes"
"""A table that few laws speak of."""


@dataclass(frozen=True, slots=True)
class Watched:
    """An installation whose laws are watched, and the owner of its database."""

    installation: Installation
    owner: asyncpg.Connection

    async def checks(self, *, after: str = "6 minutes") -> dict[str, InvariantResult]:
        """Let time pass and the checks run; return the result of each law."""
        await self.owner.execute(f"update clock set moved = moved + interval '{after}'")
        await self.installation.rest()
        return {it.name: it for it in await self_check.last_checks(self.installation.database)}

    async def changes(self, table: str, statement: str) -> None:
        """Change the books while their guards sleep."""
        await self.owner.execute(f"alter table {table} disable trigger all")
        await self.owner.execute(statement)
        await self.owner.execute(f"alter table {table} enable trigger all")
        for trigger in await self.owner.fetch(
            "select tgname from pg_trigger where tgrelid = $1::regclass and not tgisinternal"
            " and tgname not like 'checksum_of_%'",
            table,
        ):
            await self.owner.execute(f"alter table {table} enable always trigger {trigger[0]}")
        await self.owner.execute(f"select sum_anew('{table}') from table_checksums"
                                 f" where of_table = '{table}' limit 1")  # fmt: skip

    async def cases(self, kind: str) -> list[str]:
        """Return what the cases of a kind say."""
        rows = await self.owner.fetch("select sentence from cases where kind = $1", kind)
        return [row["sentence"] for row in rows]


@pytest.fixture
async def watched(server_dsn: str) -> AsyncIterator[Watched]:
    """An installation that is watched."""
    async with fresh_database(server_dsn) as dsn:
        database = await connection.connect(dsn)
        owner = await asyncpg.connect(dsn, server_settings={"search_path": "caas,public"})
        async with standing(database) as installation:
            await installation.car()
            await installation.offer_heated_seats()
            await installation.platform.invariant_monitor.begin()
            yield Watched(installation, owner)
        await owner.close()
        await database.close()


def _broken(results: dict[str, InvariantResult]) -> set[str]:
    return {name for name, it in results.items() if it.state is CheckState.BROKEN}


async def test_a_broken_law_is_told_to_operations_once_and_seen_to_be_mended(
    watched: Watched,
) -> None:
    await watched.changes("services", f"update services set name = '{A_CARD}'")
    before = await watched.checks()
    again = await watched.checks()
    await watched.changes("services", "update services set name = 'x'")
    after = await watched.checks()

    reported = await watched.cases(INVARIANT_VIOLATED)
    assert [sentence.partition(".")[0] for sentence in reported] == [
        "No text column contains a card number"
    ]
    assert A_CARD not in reported[0]
    assert _broken(before) == _broken(again) == {"no_card_number"}
    assert {it.state for it in after.values()} == {CheckState.HELD}


async def test_the_api_returns_what_was_found_at_once(watched: Watched) -> None:
    """A request that checked everything took minutes, and purchases a second."""
    await watched.checks()
    fresh = await watched.installation.settled()
    await watched.changes("payments", f"delete from payments where id = '{fresh.id}'")

    unseen = await self_check.last_checks(watched.installation.database)

    assert {it.state for it in unseen} == {CheckState.HELD}
    assert all(it.checked_at is not None and it.fully_checked_at is not None for it in unseen)


async def test_nothing_is_checked_before_the_first_check(watched: Watched) -> None:
    results = await self_check.last_checks(watched.installation.database)

    assert {it.state for it in results} == {CheckState.NOT_CHECKED}


async def test_an_old_violation_is_found_at_night_and_a_fresh_one_at_once(
    watched: Watched,
) -> None:
    old = await watched.installation.settled()
    await watched.checks(after="2 hours")
    at_first = await watched.checks()
    planted = "update payments set settled_amount = settled_amount - 1 where id = '{}'"

    await watched.changes("payments", planted.format(old.id))
    without_the_old = await watched.checks()
    fresh = await watched.installation.settled(vin=await watched.installation.car(OTHER_CAR))
    await watched.changes("payments", planted.format(fresh.id))
    with_the_fresh = await watched.checks()
    await watched.changes("payments", planted.format(fresh.id).replace("- 1", "+ 1"))
    mended = await watched.checks()

    name = "ledger_agrees_with_payments"
    assert _broken(at_first) == _broken(without_the_old) == set()
    assert name in _broken(with_the_fresh)
    # what is broken is checked over everything, which finds the old one
    assert set(with_the_fresh[name].examples) == {str(old.id), str(fresh.id)}
    assert mended[name].examples == (str(old.id),)


async def test_every_night_everything_is_checked(watched: Watched) -> None:
    old = await watched.installation.settled()
    await watched.checks(after="2 hours")
    first = await watched.checks()
    await watched.changes(
        "ledger_entries", f"delete from ledger_entries where payment_id = '{old.id}'"
    )
    by_day = await watched.checks()
    by_night = await watched.checks(after="1 day")

    assert _broken(first) == _broken(by_day) == set()
    assert "entries_follow_from_events" in _broken(by_night)
    for name in by_night.keys() - ONCE_A_ROW:
        before, after = by_day[name].fully_checked_at, by_night[name].fully_checked_at
        assert before is not None
        assert after is not None
        assert before < after


async def test_a_law_that_cannot_be_checked_keeps_no_other_from_being_checked(
    watched: Watched,
) -> None:
    payment = await watched.installation.settled()
    await watched.owner.execute(f"revoke select on {UNREAD} from caas_app")
    await watched.changes(
        "payments", f"update payments set settled_amount = 1 where id = '{payment.id}'"
    )
    results = await watched.checks()

    unfinished = {n for n, it in results.items() if it.state is CheckState.NOT_FINISHED}
    speak_of_it = {it.name for it in EVERY_INVARIANT if f" {UNREAD} " in it.text}
    assert unfinished >= {"usage_disputes_end_as_decided", "disputed_usage_is_not_billed"}
    assert unfinished <= speak_of_it
    assert "permission denied" in (
        results["usage_disputes_end_as_decided"].unfinished_because or ""
    )
    assert "ledger_agrees_with_payments" in _broken(results)
    assert await watched.cases(INVARIANT_NOT_CHECKED) == []


async def test_operations_are_told_of_a_law_that_was_not_checked_in_time(
    watched: Watched,
) -> None:
    await watched.checks()
    await watched.owner.execute(f"revoke select on {UNREAD} from caas_app")
    await watched.checks()
    none_yet = await watched.cases(INVARIANT_NOT_CHECKED)
    await watched.checks(after="2 hours")
    await watched.checks()

    told = await watched.cases(INVARIANT_NOT_CHECKED)
    assert none_yet == []
    assert "usage_disputes_end_as_decided" in {sentence.split()[0] for sentence in told}
    assert all("has not been checked since 20" in sentence for sentence in told)
    assert all("permission denied" in sentence for sentence in told)
    assert len(told) == len(set(told))


async def test_a_check_that_takes_too_long_is_not_finished_and_the_others_are(
    watched: Watched,
) -> None:
    """A statement that ran into the time limit ended the check of all others, without a word."""
    other = await asyncpg.connect(
        watched.installation.database.dsn, server_settings={"search_path": "caas"}
    )
    await other.execute("begin; lock table deposit_decisions in access exclusive mode")
    try:
        results = await self_check.full_check(
            watched.installation.database, CheckLimits(2.0), progress=lambda _done, _steps: None
        )
    finally:
        await other.close()

    states = {it.name: it for it in results}
    assert states["deposits_are_decided_once"].state is CheckState.NOT_FINISHED
    assert states["deposits_are_decided_once"].unfinished_because == (
        "A statement took longer than 2 s."
    )
    assert states["ledger_sums_to_zero"].state is CheckState.HELD
    assert states["heads_are_chained"].state is CheckState.HELD


async def test_rows_of_a_transaction_that_is_still_open_are_read_next_time(
    watched: Watched,
) -> None:
    open_one = await asyncpg.connect(
        watched.installation.database.dsn, server_settings={"search_path": "caas"}
    )
    try:
        await open_one.execute("begin")
        at = await open_one.fetchval("select db_now()")
        await watched.checks(after="0 minutes")
        marks = await watched.owner.fetch("select checked_through from invariant_checks")
    finally:
        await open_one.close()

    assert {row["checked_through"] <= at for row in marks} == {True}


async def test_what_was_touched_comes_with_all_that_belongs_to_it(watched: Watched) -> None:
    mark = await watched.owner.fetchval("select db_now()")
    payment = await watched.installation.settled()
    other = await watched.installation.buys()
    await watched.installation.until(other.id, lambda it: it.state is PaymentState.CAPTURING)
    related = await watched.owner.fetch(
        "select id from payments union select subject from payments"
        " union select id from delivery_evidence union select id from entitlement_terms"
        " union select entitlement from entitlement_terms union select id from notifications"
    )

    async with watched.installation.database.connection() as reader:
        scopes = [it async for it in invariant_scopes.touched_since(reader, mark)]

    touched = {it for scope in scopes for it in scope.ids}
    assert {row["id"] for row in related} <= touched
    assert payment.id in touched


async def test_the_slices_hold_every_id_once(watched: Watched) -> None:
    async with watched.installation.database.connection() as reader:
        found = await invariant_scopes.slices(reader)

    assert found[0].first.int == 0
    assert found[-1].last.int == invariant_scopes.ID_MAX
    assert [it.last.int + 1 for it in found[:-1]] == [it.first.int for it in found[1:]]
    assert [it.vehicles for it in found] == [True] + [False] * (len(found) - 1)


def test_the_night_is_that_of_the_market() -> None:
    madrid = ZoneInfo("Europe/Madrid")
    terms = CheckTerms(full_at=time(3))

    assert terms.last_due(datetime(2026, 7, 1, 1, 30, tzinfo=ZoneInfo("UTC")), madrid) == (
        datetime(2026, 7, 1, 3, 0, tzinfo=madrid)
    )
    assert terms.last_due(datetime(2026, 7, 1, 0, 30, tzinfo=ZoneInfo("UTC")), madrid) == (
        datetime(2026, 6, 30, 3, 0, tzinfo=madrid)
    )


@pytest.mark.parametrize("texts", [("soon", ""), ("0", ""), ("-1", ""), ("inf", ""), ("", "noon")])
def test_a_term_that_cannot_be_is_refused(texts: tuple[str, str]) -> None:
    with pytest.raises(CheckTermsError):
        read_check_terms(*texts)


def test_the_terms_have_defaults() -> None:
    assert read_check_terms("", "") == CheckTerms()
    assert read_check_terms("20", "04:30") == CheckTerms(20.0, time(4, 30))
    assert timedelta(days=1) < self_check.MARK_AGE_MAX, "at night the marks are a day old"
