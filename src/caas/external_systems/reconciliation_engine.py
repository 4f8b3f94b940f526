"""Comparison engines other than the workbench: Spark Connect, by its address.

One machine suffices for a long time; beyond that, `CAAS_ENGINE_URL` names a Spark Connect cluster.
Input relations and outcome are Parquet files in the run's folder, which the cluster must see under
the same path (a shared volume).

Rules a change must keep: every engine runs the same SQL text and returns the same rows; the Spark
client is imported only where an address is configured.
"""

import asyncio
import importlib
from pathlib import Path
from typing import Any, Final, Protocol

from caas.errors import StartupError
from caas.rules.compared_relations import RELATIONS

SPARK: Final = "pyspark.sql"


class ReconciliationEngine(Protocol):
    """Runs the classification on the relations in a folder."""

    @property
    def name(self) -> str:
        """The engine's name, recorded with the run."""
        ...

    @property
    def file_format(self) -> str:
        """The format of the relations it reads: csv or parquet."""
        ...

    async def classify(self, folder: Path, text: str) -> Path:
        """Read the relations from the folder, and return the file with the outcome."""
        ...


class NoSparkClientError(StartupError):
    """CAAS_ENGINE_URL names Spark, and its client is not installed: add pyspark-client."""

    code = "no_spark_client"


class SparkEngine:
    """Classifies on a Spark cluster over Spark Connect."""

    name: Final = "spark"
    file_format: Final = "parquet"

    def __init__(self, url: str) -> None:
        """Connect to this address, such as sc://host:15002."""
        self._url = url
        try:
            self._spark: Any = importlib.import_module(SPARK)
        except ImportError as error:
            raise NoSparkClientError from error

    async def classify(self, folder: Path, text: str) -> Path:
        """Read the relations from the folder, and return the file with the outcome."""
        return await asyncio.to_thread(self._classify, folder, text)

    def _classify(self, folder: Path, text: str) -> Path:
        session = self._spark.SparkSession.builder.remote(self._url).create()
        try:
            for name in RELATIONS:
                rows = session.read.parquet(str(folder / f"{name}.parquet"))
                rows.createOrReplaceTempView(name)
            found = folder / "outcome.spark"
            session.sql(text).write.mode("overwrite").parquet(str(found))
            return found / "*.parquet"
        finally:
            session.stop()
