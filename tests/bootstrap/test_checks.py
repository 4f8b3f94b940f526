"""The checks that `./caas check` runs: all, those named, or all that are no tests themselves."""

from bootstrap.checks import CHECKS, WITHOUT_TESTS, chosen


def test_all_checks_are_meant_unless_some_are_named() -> None:
    assert chosen([]) == list(CHECKS)
    assert chosen(["types"]) == ["types"]


def test_only_the_tests_are_left_out_where_all_tests_are_run_anyway() -> None:
    assert set(CHECKS) - set(chosen([WITHOUT_TESTS])) == {"fast-tests"}
