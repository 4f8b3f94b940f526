"""One reconciliation in a process of its own, started with a DSN and a report file.

It prints one JSON object: the seconds from the file to the last durable commit and of each phase,
the lines, and the peak memory of this process in megabytes. It has a low priority, as
`caas reconcile` has.

Rule a change must keep: nothing else is done in this process, so that the memory is the run's.
"""

import asyncio
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from caas.billing_database import connection
from caas.billing_database import tables as billing_tables
from caas.cli.commands import lower_priority
from caas.reconciliation.runs import ReconciliationSettings, Runs
from caas_lab.bench.ledger_data import DAY
from caas_lab.bench.stub_gateway import StubGateway

PHASES: Final = {("compared", False): "reading", ("compared", True): "comparing"}


async def reconcile(dsn: str, path: Path) -> dict[str, object]:
    """Reconcile the day and return the figures."""
    lower_priority()
    database = await connection.connect(dsn)
    seconds: dict[str, float] = {}
    try:
        with tempfile.TemporaryDirectory(prefix="caas-bench-") as folder:
            runs = Runs(
                tables=billing_tables.opened(database),
                gateway=StubGateway(),
                alert=_alert,
                settings=ReconciliationSettings(
                    zone=ZoneInfo("Europe/Madrid"), folder=Path(folder)
                ),
            )
            began = last = time.perf_counter()

            def on_progress(phase: str, done: int, total: int) -> None:
                nonlocal last
                name = PHASES.get((phase, done == total))
                if name is not None:
                    seconds[name], last = time.perf_counter() - last, time.perf_counter()

            reconcile = await runs.reconcile(DAY, file=path, progress=on_progress)
            seconds["applying"] = time.perf_counter() - last
            seconds["all"] = time.perf_counter() - began
    finally:
        await database.close()
    assert set(reconcile.run.counts) == {"matched"}, reconcile.run.counts
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "lines": reconcile.run.lines, "peak_megabytes": peak}


async def _alert(kind: str, subject: object, sentence: str, *, within: object = None) -> None:
    raise AssertionError(f"{kind} of {subject} within {within}: {sentence}")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(reconcile(sys.argv[1], Path(sys.argv[2])))))
