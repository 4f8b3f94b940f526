"""API key scopes: the callers of the seed's Internal Payment API, and operations.

Rule a change must keep: scope names are stored with keys and used in settings; renaming one needs a
migration.
"""

from enum import StrEnum


class Scope(StrEnum):
    """The "Caller" column of the seed's Internal Payment API Endpoints (decision 18).

    `fleet` can sell services for any customer and vehicle (decision 91).
    """

    ORDER_MANAGEMENT = "order-management"
    SERVICE_CATALOG = "service-catalog"
    FLEET = "fleet"
    BILLING = "billing"
    OTA_ENGINE = "ota-engine"
    WEBHOOK_HANDLER = "webhook-handler"
    OPERATIONS = "operations"
    ANY = "any"
