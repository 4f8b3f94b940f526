"""A pytest plugin for where CI=true: a test that was skipped is a test that failed.

Rules: it is loaded by `./caas test`, so that a machine without a browser cannot pass by silence.
"""

import pytest


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Turn a passed run with skipped tests into a failed one."""
    if exitstatus == pytest.ExitCode.OK and skipped(session):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name every test that was skipped, and why."""
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        terminalreporter.write_line(
            f"SKIPPED, which fails where CI=true: {report.nodeid}: {reason}"
        )


def skipped(session: pytest.Session) -> bool:
    """Say whether any test of the session was skipped."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    return bool(reporter and reporter.stats.get("skipped"))
