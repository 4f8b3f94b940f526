"""What all migrations make is what docs/schema.sql shows, and what the self-check compares with."""

from docs import schema


async def test_the_schema_that_is_shown_is_the_one_that_is_made(database_dsn: str) -> None:
    describe = await schema.describe(database_dsn)

    assert describe == schema.FILE.read_text("utf-8"), "run `make docs`"


async def test_the_list_that_a_schema_is_compared_with_is_of_the_migrations(
    database_dsn: str,
) -> None:
    describe = await schema.catalog(database_dsn)

    assert describe == schema.CATALOG.read_text("utf-8"), "run `make docs`"
