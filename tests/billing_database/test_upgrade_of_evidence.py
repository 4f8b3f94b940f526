"""Evidence of a database from before vehicles signed the action: good evidence stays good."""

from datetime import UTC, datetime

import asyncpg

from caas.billing_database import migrations
from caas.billing_database.guards import ACKNOWLEDGED
from caas.billing_database.identifiers import new_id
from tests.billing_database.test_upgrade_to_entitlements import old_database
from tests.databases import named

AT = datetime(2026, 11, 1, 12, 30, tzinfo=UTC)
HEARD = """
insert into delivery_evidence (id, subject, kind, command_id, action, epoch, vin, service, status,
    status_reason, at, signature, verified, refused_because, recorded_at)
values ($1, $2, 'vehicle_acknowledgement', $3, 'activate', 1, $4, 'heated-seats', 'SUCCEEDED', $5,
        'then', decode(repeat('61', 64), 'hex'), $6, $7, $8)
"""


async def test_old_evidence_is_read_as_it_was_signed_and_refused_words_are_only_counted(
    server_dsn: str,
) -> None:
    old = await old_database(server_dsn, "caas_before_signed_actions", before="0021")
    await old.execute("set session_replication_role = replica")
    good, payment, command = new_id(), new_id(), new_id()
    await old.execute(HEARD, good, payment, command, "VIN1", None, True, None, AT)
    forged = "the signature is not the vehicle's"
    for reason in ("4111 1111 1111 1111", "junk"):
        await old.execute(HEARD, new_id(), new_id(), new_id(), "V", reason, False, forged, AT)
    await old.close()

    dsn = named(server_dsn, "caas_before_signed_actions")
    await migrations.migrate(dsn)

    new = await asyncpg.connect(dsn, server_settings={"search_path": "caas,public"})
    [word] = await new.fetch(ACKNOWLEDGED)
    assert (word[0], word[6], word[7]) == (str(good), None, "SUCCEEDED")
    [counted] = await new.fetch("select * from refused_acknowledgements")
    assert (counted["vin"], counted["reason"], counted["times"]) == ("", forged, 2)
    assert await new.fetchval("select count(*) from delivery_evidence") == 1
    await new.close()
