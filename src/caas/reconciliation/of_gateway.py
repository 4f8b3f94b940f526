"""The reconciliation of one gateway: its runs, its terms, its reports and its schedule.

Rule a change must keep: a gateway's reports are compared with the payments at that gateway only,
and each day has a verdict for each gateway (decision 199).
"""

from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from caas.billing_database.identifiers import derived_id
from caas.billing_database.tables import BillingDatabase
from caas.external_systems.payment_gateway import PaymentGateway
from caas.payment_processing.flow import Alert
from caas.payment_processing.gateways import Gateways
from caas.reconciliation.drop_folder import DropFolder
from caas.reconciliation.reporting import Reporting
from caas.reconciliation.runs import ReconciliationSettings, Runs
from caas.reconciliation.schedule import Schedule


class GatewayReconciliation:
    """Reconciles the days of one gateway, and reports on them."""

    def __init__(
        self,
        *,
        tables: BillingDatabase,
        gateway: PaymentGateway,
        alert: Alert,
        settings: ReconciliationSettings,
    ) -> None:
        """Reconcile this gateway; its reports are dropped into the folder of the settings."""
        self.gateway = gateway.name
        self.runs = Runs(tables=tables, gateway=gateway, alert=alert, settings=settings)
        self.finance_terms = self.runs.finance_terms
        self.reporting = Reporting(
            tables.database, gateway=gateway.name, zone=settings.zone, days=self.runs.days
        )
        self.schedule = Schedule(
            tables=tables,
            days=self.runs.days,
            gateway=gateway.name,
            zone=settings.zone,
            reconcile=lambda day, mode: self.runs.reconcile(day, mode=mode),
            reports_daily=gateway.capabilities.settlement_by_day,
        )
        self.drop_folder = DropFolder(
            settings.drop_folder,
            tables=tables,
            days=self.runs.days,
            preview=self.runs.preview,
            reconcile=lambda day, file: self.runs.reconcile(day, file=file),
            alert=alert,
            subject=derived_id("dropped reports", gateway.name),
            of_several=bool(settings.other_gateways),
        )

    async def begin_schedule(self) -> None:
        """Schedule the recurring jobs; idempotent."""
        await self.schedule.begin()
        await self.drop_folder.begin()


def settings_of(
    name: str, gateways: Gateways, settings: ReconciliationSettings
) -> ReconciliationSettings:
    """Return the settings for one gateway; of several, each has a folder for its report files.

    The fees of the settings are agreed with the gateway of new payments.
    """
    if len(gateways.names) == 1:
        return settings
    return replace(
        settings,
        fees=settings.fees if name == gateways.for_new_payments else None,
        other_gateways=frozenset(gateways.names) - {name},
        drop_folder=drop_folder_of(name, gateways.names, settings.drop_folder),
    )


def drop_folder_of(name: str, gateways: Sequence[str], folder: Path | None) -> Path | None:
    """Return the folder for the report files of one of these gateways."""
    return folder if folder is None or len(gateways) == 1 else folder / name
