"""A payment type is whole or it does not type-check: no branch by type has a silent default."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conventions.sources import ROOT, sources

TYPES = "src/caas/rules/payment_types.py"
LAST_MEMBER = '    SUBSCRIPTION = "subscription"\n'
BRANCHES = {
    "src/caas/billing/drafts.py": 1,
    "src/caas/console/customer_payments.py": 1,
    "src/caas/payment_processing/flow.py": 1,
    "src/caas/rules/payment_failures.py": 2,
    "src/caas/rules/payment_types.py": 3,
    "src/caas/rules/postings.py": 1,
    "src/caas/external_systems/gateway_requirements.py": 1,
}
"""Where payment types differ, and in how many places."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What mypy keeps of the files that are the same for each of these tests."""
    return tmp_path_factory.mktemp("mypy")


def test_a_new_payment_type_does_not_type_check_until_each_branch_knows_it(
    tmp_path: Path, cache: Path
) -> None:
    text = (ROOT / TYPES).read_text("utf-8")
    assert text.count(LAST_MEMBER) == 1
    with_gift = tmp_path / "payment_types.py"
    with_gift.write_text(text.replace(LAST_MEMBER, f'{LAST_MEMBER}    GIFT = "gift"\n'), "utf-8")

    complaints = _type_checked("--shadow-file", TYPES, str(with_gift), cache=cache)

    of_a_gift = [line for line in complaints.splitlines() if "exhaustive-match" in line]
    found = {branch: sum(branch in line for line in of_a_gift) for branch in BRANCHES}
    assert found == BRANCHES, complaints


def test_a_flow_that_lacks_a_method_does_not_type_check(tmp_path: Path, cache: Path) -> None:
    module = "src/caas/payment_processing/service_payment.py"
    text = (ROOT / module).read_text("utf-8")
    without_void = tmp_path / "service_payment.py"
    without_void.write_text(text.replace("def void(", "def let_go("), "utf-8")

    complaints = _type_checked(
        "--shadow-file", module, str(without_void), "src/caas/platform.py", cache=cache
    )

    assert 'Argument "service" to "Flows" has incompatible type "ServicePayment"' in complaints


def test_no_dict_stands_for_the_payment_types() -> None:
    """A dict without a type, or with a default, type-checks; a match does not."""
    keyed = [
        f"{source.path}:{node.lineno}"
        for source in sources("src")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Dict) and any(_is_payment_type(key) for key in node.keys)
    ]

    assert keyed == []


def _is_payment_type(key: ast.expr | None) -> bool:
    return (
        isinstance(key, ast.Attribute)
        and isinstance(key.value, ast.Name)
        and key.value.id == "PaymentType"
    )


def _type_checked(*arguments: str, cache: Path) -> str:
    """Return what mypy says of the branches, with something else in a file's place."""
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(cache), *arguments]
    checked = subprocess.run(
        [*command, *BRANCHES], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 1, checked.stdout + checked.stderr
    return checked.stdout
