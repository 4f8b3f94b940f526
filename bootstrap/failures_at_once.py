"""Pytest plugin that reports each failure immediately.

An interrupted run has then reported the failures so far.

Rule a change must keep: the plugin changes no result; the full report still follows at the end.
"""

import pytest


class FailuresAtOnce:
    """Prints a line per failure from the reporting process."""

    def __init__(self, config: pytest.Config) -> None:
        """Write to the terminal of this run."""
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Report a failure."""
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and terminal is not None:
            crash = getattr(report.longrepr, "reprcrash", None)
            because = crash.message if crash else report.longreprtext
            terminal.ensure_newline()
            terminal.write_line(f"FAILED {report.nodeid} at {report.when}: {_first_line(because)}")


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[0]


def pytest_configure(config: pytest.Config) -> None:
    """Register in the main process only; the output of workers is not shown."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(FailuresAtOnce(config))
