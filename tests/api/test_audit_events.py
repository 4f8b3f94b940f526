"""The audit log over HTTP: in order, read on from an event, of one type, for operations alone."""

from uuid import UUID

from caas.billing_database.audit_events import AuditType, Outsider, audit
from tests.api.conftest import Doors
from tests.people import employed

PATH = "/v1/audit-events"


async def test_events_are_read_on_in_their_order(doors: Doors) -> None:
    database = doors.installation.database
    ana = await employed(database, "ana")
    assert ana.account is not None
    authors: list[UUID | Outsider] = [ana.account, Outsider.SETTINGS, Outsider.NOBODY]
    for who in authors:
        await audit(AuditType.SIGN_IN_REFUSED, by=who, address="2001:db8:1:2::3", within=database)
    await audit(AuditType.STAFF_ADDED, by=Outsider.SETTINGS, subject=ana.account, within=database)

    first = await doors.get(f"{PATH}?limit=2", caller="operators")
    rest = await doors.get(f"{PATH}?after={first.json['next_after']}", caller="operators")
    added = await doors.get(f"{PATH}?type=staff%20added", caller="operators")
    unknown = await doors.get(f"{PATH}?type=nothing", caller="operators")

    reported = first.json["data"] + rest.json["data"]
    assert [one["actor"] for one in reported] == ["account", "settings", "nobody", "settings"]
    assert (reported[0]["account"], reported[0]["network"]) == (str(ana.account), "2001:db8:1::/48")
    assert rest.json["next_after"] is None
    assert [one["subject"] for one in added.json["data"]] == [str(ana.account)]
    assert (unknown.status, unknown.json["code"]) == (422, "invalid_parameter")


async def test_other_scopes_read_no_audit_events(doors: Doors) -> None:
    answer = await doors.get(PATH, caller="billing")

    assert (answer.status, answer.json["code"]) == (403, "scope_missing")
