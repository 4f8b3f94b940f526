"""What a key of the API allows: the callers of the seed's Internal Payment API, and operations.

Rule a change must keep: a scope's name is stored with every key and written in every setting, so
that renaming one is a migration.
"""

from enum import StrEnum


class Scope(StrEnum):
    """The "Caller" column of the seed's Internal Payment API Endpoints (decision 18).

    `fleet` sells services for any customer and any vehicle (decision 91).
    """

    ORDER_MANAGEMENT = "order-management"
    SERVICE_CATALOG = "service-catalog"
    FLEET = "fleet"
    BILLING = "billing"
    OTA_ENGINE = "ota-engine"
    WEBHOOK_HANDLER = "webhook-handler"
    OPERATIONS = "operations"
    ANY = "any"
