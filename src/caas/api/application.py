"""The API as one ASGI application: every call of every file, behind one front door.

Litestar matches addresses and methods and runs the lifespan; the calls themselves know nothing of
it. The hottest calls are answered in front of it, by the same functions.

Rule a change must keep: a call is reachable exactly when it is in `OPERATIONS`, and is documented
exactly then.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from litestar import Litestar, Request, Response
from litestar.enums import HttpMethod
from litestar.exceptions import HTTPException, MethodNotAllowedException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from caas.api.admission import Admission
from caas.api.answers import Answer
from caas.api.audit_events import AUDIT_OPERATIONS
from caas.api.authentication import Authentication
from caas.api.billing_details import BILLING_DETAILS_OPERATIONS
from caas.api.billing_runs import BILLING_OPERATIONS
from caas.api.bulk_resolutions import BULK_OPERATIONS
from caas.api.call import SCOPE_KEY, Call
from caas.api.customers import CUSTOMER_OPERATIONS
from caas.api.discrepancies import DISCREPANCY_OPERATIONS
from caas.api.documentation import documentation_operations
from caas.api.entitlements import ENTITLEMENT_OPERATIONS
from caas.api.events import EVENT_OPERATIONS
from caas.api.front_door import DirectCall, FrontDoor, told
from caas.api.invoices import INVOICE_OPERATIONS
from caas.api.metrics import Metrics
from caas.api.operation import Operation, template_of
from caas.api.orders import ORDER_OPERATIONS
from caas.api.own_state import STATE_OPERATIONS
from caas.api.partner_webhooks import FACTORY, TRANSPORT
from caas.api.payments import PAYMENT_OPERATIONS
from caas.api.problem_pages import PROBLEM_OPERATIONS
from caas.api.problems import MethodNotAllowedError, NoSuchRouteError
from caas.api.reconciliation import RECONCILIATION_OPERATIONS
from caas.api.reports import REPORT_OPERATIONS
from caas.api.rooms import Api, Rooms
from caas.api.services import SERVICE_OPERATIONS
from caas.api.settings import ApiSettings
from caas.api.subscriptions import SUBSCRIPTION_OPERATIONS
from caas.api.usage import USAGE_OPERATIONS
from caas.api.vehicles import VEHICLE_OPERATIONS
from caas.api.webhook_handler import GATEWAY, WEBHOOK_OPERATIONS
from caas.billing_database.api_keys import ApiKeys
from caas.billing_database.readiness import Readiness
from caas.billing_database.webhook_inbox import WebhookInbox
from caas.errors import CaasError
from caas.external_systems.webhook_signatures import Verifier, WebhookVerifier

OPERATIONS: Final[tuple[Operation, ...]] = (
    *PAYMENT_OPERATIONS,
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
ANSWERED_DIRECTLY: Final = frozenset({"initiateServicePayment", "gatewayWebhook"})

ANY_STATUS: Final = 200
"""What the framework is told to expect; each answer carries its own."""
_NOT_FOUND: Final = 404


def build_api(rooms: Rooms, settings: ApiSettings) -> FrontDoor:
    """Build the API over the rooms; its lifespan makes the keys of the settings valid."""
    authentication = Authentication(ApiKeys(rooms.books.database))
    metrics = Metrics(settings.registry)
    api = Api(
        rooms=rooms,
        settings=settings,
        authentication=authentication,
        metrics=metrics,
        inbox=WebhookInbox(rooms.books.database),
        verifiers=_verifiers(settings),
        readiness=Readiness(rooms.books.database),
    )
    operations = (*OPERATIONS, *documentation_operations(OPERATIONS))
    return FrontDoor(
        behind=_framework(api, operations),
        direct=_direct(api, operations),
        admission=Admission(
            authentication,
            key_limit=settings.key_limit,
            address_limit=settings.address_limit,
        ),
        metrics=metrics,
    )


def _verifiers(settings: ApiSettings) -> dict[str, Verifier]:
    senders = {
        GATEWAY: (settings.gateway_verifier, settings.gateway_webhook_secrets),
        FACTORY: (WebhookVerifier, settings.factory_webhook_secrets),
        TRANSPORT: (WebhookVerifier, settings.transport_webhook_secrets),
    }
    return {sender: verifier(known) for sender, (verifier, known) in senders.items() if known}


def _direct(api: Api, operations: tuple[Operation, ...]) -> Mapping[tuple[str, str], DirectCall]:
    return {
        (operation.method, operation.path): DirectCall(
            partial(operation.answer, api), operation.needs_key
        )
        for operation in operations
        if operation.id in ANSWERED_DIRECTLY
    }


def _framework(api: Api, operations: tuple[Operation, ...]) -> Any:  # ASGI
    async def bootstrap() -> None:
        await api.authentication.bootstrap(api.settings.api_keys)

    async def options(request: Request[Any, Any, Any]) -> Response[bytes] | None:
        if request.method != HttpMethod.OPTIONS:
            return None
        here = request.scope["path_template"]
        methods = [it.method for it in operations if template_of(it.path) == here]
        return Response(b"", status_code=204, headers={"allow": ", ".join(sorted(methods))})

    return Litestar(
        route_handlers=[_handler(api, operation) for operation in operations],
        before_request=options,
        on_startup=[bootstrap],
        exception_handlers={HTTPException: _refused, Exception: _failed},
        openapi_config=None,
        logging_config=None,
    )


def _handler(api: Api, operation: Operation) -> HTTPRouteHandler:
    async def handle(scope: Scope) -> ASGIApp:
        call: Call = scope["state"][SCOPE_KEY]
        call.ids = scope["path_params"]
        try:
            answer = await operation.answer(api, call)
        except CaasError as error:
            answer = told(call, error)
        return _sending(answer)

    return HTTPRouteHandler(
        operation.path, http_method=HttpMethod(operation.method), status_code=ANY_STATUS
    )(handle)


def _sending(answer: Answer) -> ASGIApp:
    async def send_it(_scope: Scope, _receive: Receive, send: Send) -> None:
        length = (b"content-length", b"%d" % len(answer.body))
        await send(
            {
                "type": "http.response.start",
                "status": answer.status,
                "headers": [*answer.headers, length],
            }
        )
        await send({"type": "http.response.body", "body": answer.body, "more_body": False})

    return send_it


def _refused(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Answer for what no call answers: no such address, or not with this method."""
    call: Call = request.scope["state"][SCOPE_KEY]
    if isinstance(error, MethodNotAllowedException):
        allowed = (error.headers or {}).get("allow", "").encode()
        return _response(told(call, MethodNotAllowedError(headers=((b"allow", allowed),))))
    return _response(told(call, NoSuchRouteError() if error.status_code == _NOT_FOUND else error))


def _failed(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    call: Call = request.scope["state"][SCOPE_KEY]
    return _response(told(call, error))


def _response(answer: Answer) -> Response[bytes]:
    headers = {name.decode(): value.decode("latin-1") for name, value in answer.headers}
    media_type = headers.pop("content-type")
    return Response(answer.body, status_code=answer.status, headers=headers, media_type=media_type)
