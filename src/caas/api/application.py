"""The API as one ASGI application.

Rule a change must keep: a call is reachable and documented exactly when it is in `OPERATIONS`.
"""

from functools import cache
from typing import Final

import structlog

from caas.api.authentication import Admission, Authentication, Call
from caas.api.billing_runs import BILLING_OPERATIONS
from caas.api.bulk_resolutions import BULK_OPERATIONS
from caas.api.context import Api
from caas.api.credit_notes import CREDIT_NOTE_OPERATIONS
from caas.api.customers import BILLING_DETAILS_OPERATIONS, CUSTOMER_OPERATIONS
from caas.api.discrepancies import DISCREPANCY_OPERATIONS
from caas.api.dispute_evidence import DISPUTE_EVIDENCE_OPERATIONS
from caas.api.documentation import PROBLEM_OPERATIONS, documentation_operations
from caas.api.entitlements import ENTITLEMENT_OPERATIONS
from caas.api.events import AUDIT_OPERATIONS, EVENT_OPERATIONS
from caas.api.invoices import INVOICE_OPERATIONS
from caas.api.metrics import Metrics
from caas.api.operation import Operation
from caas.api.orders import ORDER_OPERATIONS
from caas.api.payments import PAYMENT_OPERATIONS
from caas.api.reconciliation import RECONCILIATION_OPERATIONS
from caas.api.reports import REPORT_OPERATIONS
from caas.api.services import SERVICE_OPERATIONS
from caas.api.settings import ApiSettings
from caas.api.status import STATE_OPERATIONS
from caas.api.subscriptions import SUBSCRIPTION_OPERATIONS, USAGE_OPERATIONS
from caas.api.vehicles import VEHICLE_OPERATIONS
from caas.api.webhook_handler import WEBHOOK_OPERATIONS
from caas.billing_database.api_keys import ApiKeys
from caas.billing_database.readiness import Readiness
from caas.errors import CaasError
from caas.external_systems.webhook_signatures import Verifier, WebhookVerifier
from caas.order_management.partner_webhooks import FACTORY, TRANSPORT
from caas.platform import Platform
from caas.web.application import FOR_MACHINES, WebApplication
from caas.web.card_refusal import refuse_in_head
from caas.web.limits import Receive, read_json
from caas.web.problems import MethodNotAllowedError, NoSuchRouteError, error_response
from caas.web.request import Scope
from caas.web.response import RawHeader, Response
from caas.web.router import OPTIONS, Match, Router

OPERATIONS: Final[tuple[Operation, ...]] = (
    *PAYMENT_OPERATIONS,
    *DISPUTE_EVIDENCE_OPERATIONS,
    *CUSTOMER_OPERATIONS,
    *BILLING_DETAILS_OPERATIONS,
    *VEHICLE_OPERATIONS,
    *ENTITLEMENT_OPERATIONS,
    *ORDER_OPERATIONS,
    *SERVICE_OPERATIONS,
    *SUBSCRIPTION_OPERATIONS,
    *USAGE_OPERATIONS,
    *BILLING_OPERATIONS,
    *INVOICE_OPERATIONS,
    *CREDIT_NOTE_OPERATIONS,
    *RECONCILIATION_OPERATIONS,
    *DISCREPANCY_OPERATIONS,
    *BULK_OPERATIONS,
    *REPORT_OPERATIONS,
    *WEBHOOK_OPERATIONS,
    *AUDIT_OPERATIONS,
    *EVENT_OPERATIONS,
    *STATE_OPERATIONS,
    *PROBLEM_OPERATIONS,
)
API_PATHS: Final = frozenset({"/health", "/live", "/ready", "/metrics", "/openapi.json", "/docs",
                              "/problems"})  # fmt: skip
API_BEGINNINGS: Final = ("/v1/", "/webhooks/", "/problems/", "/docs/")
OPEN_BEGINNINGS: Final = ("/webhooks/", "/problems/")
"""Path prefixes that need no key, whether or not the path exists."""
NO_CONTENT: Final = 204

_log = structlog.get_logger()


class ApiSite:
    """Admits and answers API calls.

    A call is authenticated and rate limited, its head is scanned for card numbers, its body is read
    within its limit, and then the operation runs.
    """

    name = "api"
    security_headers = FOR_MACHINES
    is_secure = False

    def __init__(self, api: Api, operations: tuple[Operation, ...]) -> None:
        """Serve these operations."""
        self._api = api
        self._router = Router(operations)
        self._admission = Admission(
            api.authentication,
            key_limit=api.settings.key_limit,
            address_limit=api.settings.address_limit,
        )

    async def start(self) -> None:
        """Activate the configured API keys."""
        await self._api.authentication.bootstrap(self._api.settings.api_keys)

    def begin(self, scope: Scope, headers: dict[bytes, bytes], request_id: str) -> Call:
        """Create the call from its head."""
        return Call(scope, scope["method"], scope["path"], headers, request_id)

    async def respond(self, call: Call, receive: Receive) -> Response:
        """Admit a call, read its body and return the response.

        Raises:
            NoSuchRouteError: no route matches the path.
            MethodNotAllowedError: the route does not support the method.
        """
        match = self._router.match(call.method, call.path)
        await self._admission.admit(call, needs_key=_needs_key(match, call.path))
        is_fixed = match is not None and not match.params
        refuse_in_head("" if is_fixed else call.path, call.scope["query_string"], call.headers)
        if match is None:
            raise NoSuchRouteError
        call.route, call.ids, operation = match.template, match.params, match.route
        if operation is None:
            if call.method == OPTIONS:
                return Response(NO_CONTENT, b"", ((b"allow", match.allow),))
            raise MethodNotAllowedError(headers=((b"allow", match.allow),))
        call.body = await read_json(call, receive, bytes_max=operation.body_bytes_max)
        return await operation.answer(self._api, call)

    def refuse(self, call: Call, error: CaasError) -> Response:
        """Return the response for a call that ended in an error."""
        return error_response(error, request_id=call.request_id)

    def more_headers(self, call: Call) -> tuple[RawHeader, ...]:
        """Return the rate limit headers."""
        return self._admission.headers(call)

    def finish(self, call: Call, status: int, seconds: float) -> None:
        """Count the call and log it."""
        self._admission.settle(call, status)
        self._api.metrics.observe(call.method, call.route, status, seconds)
        _log.info(
            "api.answered",
            method=call.method,
            route=call.route,
            status=status,
            milliseconds=round(seconds * 1000, 2),
            request_id=call.request_id,
            caller=call.caller.name if call.caller else None,
        )


def build_api(platform: Platform, settings: ApiSettings) -> WebApplication[Call]:
    """Build the API over the subsystems; its lifespan activates the configured keys."""
    api = Api(
        platform=platform,
        settings=settings,
        authentication=Authentication(ApiKeys(platform.tables.database)),
        metrics=Metrics(settings.registry),
        verifiers=_verifiers(settings),
        readiness=Readiness(platform.tables.database),
    )
    return WebApplication(ApiSite(api, _documented_operations()))


@cache
def _documented_operations() -> tuple[Operation, ...]:
    """Return every operation, with those that document them, which are made once per process."""
    return (*OPERATIONS, *documentation_operations(OPERATIONS))


def is_of_api(path: str) -> bool:
    """Return whether a path belongs to the API; every other path is a page."""
    return path in API_PATHS or path.startswith(API_BEGINNINGS)


def _verifiers(settings: ApiSettings) -> dict[str, Verifier]:
    partners = {
        FACTORY: settings.factory_webhook_secrets,
        TRANSPORT: settings.transport_webhook_secrets,
    }
    return {sender: WebhookVerifier(known) for sender, known in partners.items() if known}


def _needs_key(match: Match[Operation] | None, path: str) -> bool:
    """Return whether a path requires a key; unknown paths do, so that they reveal nothing."""
    if match is None:
        return not path.startswith(OPEN_BEGINNINGS)
    if match.route is None:
        return any(operation.needs_key for operation in match.routes.values())
    return match.route.needs_key
