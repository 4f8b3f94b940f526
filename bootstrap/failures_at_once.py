"""A pytest plugin that names a test as soon as it has failed, and why.

Rules: a run that is cut off has named what had failed by then; the whole story still comes at the
end.
"""

import pytest


class FailuresAtOnce:
    """Writes a line for each failure, in the process that writes the report."""

    def __init__(self, config: pytest.Config) -> None:
        """Write to the terminal of this run."""
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Name what failed."""
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and terminal is not None:
            crash = getattr(report.longrepr, "reprcrash", None)
            because = crash.message if crash else report.longreprtext
            terminal.ensure_newline()
            terminal.write_line(f"FAILED {report.nodeid} at {report.when}: {_first_line(because)}")


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[0]


def pytest_configure(config: pytest.Config) -> None:
    """Stand beside the reporter, not in the workers, whose output nobody reads."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(FailuresAtOnce(config))
