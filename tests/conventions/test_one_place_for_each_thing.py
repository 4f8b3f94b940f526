"""What may stand in one place only: SQL, commits, the environment, amounts of money."""

import ast
import re
from collections import Counter

from tests.conventions.sources import Source, sources

DATABASE = "src/caas/billing_database/"
WORKBENCH = "src/caas/external_systems/reconciliation_workbench"
SQL = re.compile(
    r"^\s*(select\s.+\sfrom\s|insert\s+into\s|update\s+\w+\s+set\s|delete\s+from\s|with\s+\w+\s+as\s*\()",
    re.IGNORECASE | re.DOTALL,
)
COMMITTING = {"commit", "rollback"}
SHARED = {
    "Dispute",
    "Refund",
    "Refunds",
}
"""Class names that two modules have so far; no other may become one of them."""
MONEY = re.compile(r"(^|_)(amount|price|fee|gross|net|deposit)s?(_|$)")


def test_only_the_billing_database_knows_the_driver() -> None:
    elsewhere = [
        f"{source.path} imports {name}"
        for source in outside_the_database()
        for name in source.imported()
        if name.split(".")[0] in {"asyncpg", "psycopg", "sqlalchemy"}
    ]

    assert elsewhere == []


def test_only_the_billing_database_commits() -> None:
    elsewhere = [
        f"{source.path}:{node.lineno} .{node.func.attr}()"
        for source in outside_the_database()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in COMMITTING
    ]

    assert elsewhere == []


def test_sql_is_written_in_the_billing_database_only() -> None:
    elsewhere = [
        f"{source.path}: {text.strip()[:60]}"
        for source in outside_the_database()
        for text in source.strings()
        if SQL.search(text)
    ]

    assert elsewhere == []


def test_a_class_name_stands_once_in_the_platform() -> None:
    named = Counter(
        node.name
        for source in sources("src/caas")
        for node in source.tree.body
        if isinstance(node, ast.ClassDef)
    )

    assert {name for name, times in named.items() if times > 1} == SHARED


def test_no_amount_of_money_is_a_float() -> None:
    floats = [
        f"{source.path}: {name}"
        for source in sources("src")
        for node in ast.walk(source.tree)
        for name, annotation in annotated(node)
        if MONEY.search(name) and re.search(r"\bfloat\b", annotation)
    ]

    assert floats == []


def test_a_blind_except_stands_only_where_work_is_dispatched() -> None:
    allowed = re.compile(
        r"src/caas/(jobs|app|cli|logs)(\.py|/)|src/caas_lab/(demo|conformance)/|src/caas_simulators/"
        r"|src/caas/web/application\.py"
        r"|src/caas/billing_database/batching\.py"
        r"|src/caas/reconciliation/drop_folder\.py"
        r"|src/caas/reconciliation/schedule\.py"
    )

    elsewhere = [
        f"{source.path}:{node.lineno}"
        for source in sources("src")
        if not allowed.match(source.path)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ExceptHandler) and is_blind(node) and not raises_again(node)
    ]

    assert elsewhere == []


def outside_the_database() -> list[Source]:
    """Return the platform's files but for the Billing Database's and the workbench's.

    The workbench speaks SQL to a DuckDB of its own.
    """
    apart = (DATABASE, WORKBENCH)
    return [source for source in sources("src/caas") if not source.path.startswith(apart)]


def annotated(node: ast.AST) -> list[tuple[str, str]]:
    """Return the names a node declares with their types."""
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [(node.target.id, ast.unparse(node.annotation))]
    if isinstance(node, ast.arg) and node.annotation is not None:
        return [(node.arg, ast.unparse(node.annotation))]
    return []


def is_blind(handler: ast.ExceptHandler) -> bool:
    """Say whether a handler takes whatever comes."""
    caught = ast.unparse(handler.type) if handler.type else ""
    return caught in {"", "Exception", "BaseException"}


def raises_again(handler: ast.ExceptHandler) -> bool:
    """Say whether a handler passes on what it took: raises it, or gives it to whoever waits."""
    return any(
        isinstance(node, ast.Raise)
        or (isinstance(node, ast.Attribute) and node.attr == "set_exception")
        for node in ast.walk(handler)
    )
