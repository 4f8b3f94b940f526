"""The schema in one place: docs/schema.sql is what all migrations make."""

from docs import schema


async def test_the_schema_that_is_shown_is_the_one_that_is_made(database_dsn: str) -> None:
    told = await schema.told(database_dsn)

    assert told == schema.FILE.read_text("utf-8"), "run `make docs`"
