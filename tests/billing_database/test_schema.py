"""What all migrations make is what docs/schema.sql shows, and what the self-check compares with."""

import re
from enum import StrEnum

import pytest
from docs import schema

from caas.billing_database.connection import Database
from caas.rules.payment_types import EvidenceKind, PaymentType


async def test_the_schema_that_is_shown_is_the_one_that_is_made(database_dsn: str) -> None:
    describe = await schema.describe(database_dsn)

    assert describe == schema.FILE.read_text("utf-8"), "run `make docs`"


async def test_the_list_that_a_schema_is_compared_with_is_of_the_migrations(
    database_dsn: str,
) -> None:
    describe = await schema.catalog(database_dsn)

    assert describe == schema.CATALOG.read_text("utf-8"), "run `make docs`"


@pytest.mark.parametrize(
    ("constraint", "values"),
    [
        ("payments_type_check", PaymentType),
        ("delivery_evidence_kind_check", EvidenceKind),
    ],
)
async def test_the_database_knows_every_payment_type_and_every_kind_of_evidence(
    constraint: str, values: type[StrEnum], database: Database
) -> None:
    [row] = await database.fetch(
        "select pg_get_constraintdef(oid) as text from pg_constraint where conname = $1", constraint
    )

    assert set(re.findall(r"'(\w+)'", row["text"])) == {str(value) for value in values}
