"""Erases an erased customer at the gateways that keep customers and saved cards (decision 92).

Rules a change must keep: nothing is erased there while something of the customer is open, for a
dispute or a late payment may be reported after the erasure; a gateway that does not answer is asked
again.
"""

from collections.abc import Sequence
from typing import Final

from caas.billing_database import erasure_rows
from caas.billing_database.erasure_rows import ERASE_AT_GATEWAYS
from caas.billing_database.job_rows import Job
from caas.billing_database.tables import BillingDatabase
from caas.external_systems.gateway_erasure import ErasingGateway
from caas.external_systems.http_answers import GatewayFailure
from caas.jobs import Answer, Done, JobQueue, RetryIn

STILL_OPEN_SECONDS: Final = 86_400.0
AFTER_FAILURE_SECONDS: Final = 3_600.0


class ErasureAtGateways:
    """Erases customers at the gateways that keep them."""

    def __init__(self, *, tables: BillingDatabase, gateways: Sequence[object], zone: str) -> None:
        """Erase at these gateways; those that keep nothing of a customer are left out."""
        self._database = tables.database
        self._gateways = [it for it in gateways if isinstance(it, ErasingGateway)]
        self._zone = zone

    def register(self, jobs: JobQueue) -> None:
        """Register the job that the erasing commit adds."""
        jobs.register(ERASE_AT_GATEWAYS, self._erase)

    async def _erase(self, job: Job) -> Answer:
        if not self._gateways:
            return Done()
        if await erasure_rows.open_of(self._database, job.subject, zone=self._zone):
            return RetryIn(STILL_OPEN_SECONDS, "something of the customer is open again")
        for gateway in self._gateways:
            try:
                await gateway.erase_customer(str(job.subject))
            except GatewayFailure as failure:
                return RetryIn(AFTER_FAILURE_SECONDS, failure.sentence)
        return Done()
