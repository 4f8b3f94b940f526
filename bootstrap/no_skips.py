"""Pytest plugin that fails a run with skipped tests where CI=true.

`./caas test` loads it, so that a machine without a browser cannot pass silently.

Rule a change must keep: only a passed run is turned into a failed one.
"""

import pytest


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a successful run that skipped tests."""
    if exitstatus == pytest.ExitCode.OK and skipped(session):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the skipped tests with their reasons."""
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        terminalreporter.write_line(
            f"SKIPPED, which fails where CI=true: {report.nodeid}: {reason}"
        )


def skipped(session: pytest.Session) -> bool:
    """Return whether any test was skipped."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    return bool(reporter and reporter.stats.get("skipped"))
