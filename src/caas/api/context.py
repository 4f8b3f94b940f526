"""The dependencies of the API's operations: the platform, and what the API itself keeps.

The API makes no decisions: each operation checks the caller and the request, and calls the
subsystem.
"""

import msgspec

from caas.api.authentication import Authentication
from caas.api.metrics import Metrics
from caas.api.settings import ApiSettings
from caas.billing_database.readiness import Readiness
from caas.external_systems.webhook_signatures import Verifier
from caas.platform import Platform


class Api(msgspec.Struct, frozen=True, kw_only=True):
    """The dependencies of the API's operations."""

    platform: Platform
    settings: ApiSettings
    authentication: Authentication
    metrics: Metrics
    verifiers: dict[str, Verifier]
    readiness: Readiness
