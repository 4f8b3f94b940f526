"""What a gateway's webhooks say beside payments: reports, warnings of fraud, returned payouts.

Rule a change must keep: a notice moves no payment; it becomes a file or a case (decision 246).
"""

from typing import assert_never

from caas.external_systems.gateway_fraud_warnings import FraudWarning
from caas.external_systems.gateway_payouts import GatewayPayout
from caas.external_systems.report_announcements import AnnouncedReport
from caas.jobs import Answer
from caas.payment_processing.fraud_warnings import FraudWarnings
from caas.payment_processing.settlement import Notice
from caas.reconciliation.announced_reports import AnnouncedReports
from caas.reconciliation.payouts import Payouts


class GatewayNotices:
    """Passes each notice to the part that it is for."""

    def __init__(
        self, *, reports: AnnouncedReports, warnings: FraudWarnings, payouts: Payouts
    ) -> None:
        """Pass notices to these parts."""
        self._reports = reports
        self.warnings = warnings
        self.payouts = payouts

    async def take(self, gateway: str, notice: Notice, attempts: int) -> Answer:
        """Apply a gateway's notice, at the given attempt of its job."""
        match notice:
            case AnnouncedReport():
                return await self._reports.take(gateway, notice, attempts)
            case FraudWarning():
                return await self.warnings.on_event(gateway, notice, attempts)
            case GatewayPayout():
                return await self.payouts.on_event(gateway, notice)
        assert_never(notice)
