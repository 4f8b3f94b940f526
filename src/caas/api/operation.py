"""One call of the API as a value: its address, who may make it, what it takes, how it answers.

Routing, authorization and the OpenAPI document are all read off these values, so that what is
documented is what is enforced. Each file of calls ends in a table of them.

Rules a change must keep: a call is for narrowed keys only when it says so; an operation's id is
public (the seed's function names are such ids); a status that a call can be answered with stands in
`answers`, or among those every call has.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from caas.api.bodies import BodyOf
from caas.api.call import Call
from caas.api.context import Api
from caas.api.ownership import refuse_narrowed
from caas.api.queries import QueryOf
from caas.web.limits import BODY_BYTES_MAX
from caas.web.response import Response

Handle = Callable[[Api, Call], Awaitable[Response]]

ANY_KEY: Final[frozenset[str]] = frozenset()
JSON: Final = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One call; `answers` maps each status of its own to the struct it is answered with.

    `also` are media types in which it is answered as a file, for who accepts them.

    A key that is narrowed to a customer or a dealership may make it only if it is `narrowed`: it
    tells nothing of anybody else, because it looks whose each thing is, or because it is public.
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

    @property
    def summary(self) -> str:
        """What the call does, in the words of the function that does it."""
        text = (self.handle.__doc__ or "").partition("\n")[0].strip()
        assert text, f"{self.id} says what it does"
        return text

    @property
    def is_idempotent_post(self) -> bool:
        """Whether it is done once for each Idempotency-Key."""
        return self.method == "POST" and self.needs_key

    async def answer(self, api: Api, call: Call) -> Response:
        """Answer a call that came in at this address, if its key allows it.

        Raises:
            ScopeMissingError: the key has none of the scopes.
            NotYoursError: the key is narrowed, and the call is about everybody.
        """
        if self.needs_key:
            call.by.require(self.scopes)
            if not self.narrowed:
                refuse_narrowed(call.by)
        return await self.handle(api, call)
