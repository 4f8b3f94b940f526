"""An API operation: its route, scopes, inputs and responses.

Routing, authorization and the OpenAPI document all use these values, so the documentation matches
what is enforced. Each file of operations ends with a table of them.

Rules a change must keep: restricted keys may make only `narrowed` calls; operation ids are public
(the seed's function names); each status an operation can return is in `answers` or common to all
operations.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec

from caas.api.authentication import Call
from caas.api.bodies import BodyOf, QueryOf
from caas.api.context import Api
from caas.api.ownership import refuse_narrowed
from caas.web.limits import BODY_BYTES_MAX
from caas.web.response import Response

Handle = Callable[[Api, Call], Awaitable[Response]]

ANY_KEY: Final[frozenset[str]] = frozenset()
JSON: Final = "application/json"


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation; `answers` maps its status codes to the struct of the response.

    `also` lists media types in which a client can request the response as a file. Keys restricted
    to a customer or dealership may make the call only if it is `narrowed`: it checks ownership or
    its content is public. One that `pays` makes a payment and can answer before its outcome.
    """

    id: str
    tag: str
    method: str
    path: str
    handle: Handle
    answers: Mapping[int, type | None]
    scopes: frozenset[str] = ANY_KEY
    body: BodyOf[Any] | None = None
    query: QueryOf[Any] | None = None
    media_type: str = JSON
    also: tuple[str, ...] = ()
    body_bytes_max: int = BODY_BYTES_MAX
    needs_key: bool = True
    narrowed: bool = False
    pays: bool = False

    @property
    def summary(self) -> str:
        """The first sentence of the handler's docstring."""
        text = (self.handle.__doc__ or "").partition("\n")[0].strip()
        assert text, f"{self.id} has a docstring"
        return text

    @property
    def is_idempotent_post(self) -> bool:
        """Whether an Idempotency-Key is required."""
        return self.method == "POST" and self.needs_key

    async def answer(self, api: Api, call: Call) -> Response:
        """Run the operation if the caller's key allows it.

        Raises:
            ScopeMissingError: the key has none of the required scopes.
            NotYoursError: the key is restricted and the call is not.
        """
        if self.needs_key:
            call.by.require(self.scopes)
            if not self.narrowed:
                refuse_narrowed(call.by)
        return await self.handle(api, call)
