"""Reads a request's query parameters into the struct of its call, as strictly as a body.

Rule a change must keep: an unknown or repeated parameter is refused, because a filter that is
overlooked shows more than was asked for.
"""

from typing import Annotated, Final, Generic, TypeVar
from urllib.parse import parse_qsl

import msgspec

from caas.api.problems import InvalidParameterError

PARAMETERS_MAX: Final = 16
PAGE_ROWS_MAX: Final = 100
PAGE_ROWS: Final = 50
DETAIL_CHARS_MAX: Final = 200
NOTHING: Final = "null"
"""What a lax reader takes for a parameter that was left out."""

Limit = Annotated[
    int, msgspec.Meta(ge=1, le=PAGE_ROWS_MAX, description="How many rows a page has at most.")
]

Parameters = TypeVar("Parameters", bound=msgspec.Struct)


class QueryOf(Generic[Parameters]):
    """The reader of one kind of query."""

    def __init__(self, parameters: type[Parameters]) -> None:
        """Read queries of this struct."""
        assert parameters.__struct_config__.forbid_unknown_fields, f"{parameters} is not strict"
        self.parameters = parameters

    def read(self, query: bytes) -> Parameters:
        """Return the parameters.

        Raises:
            InvalidParameterError: one is unknown, repeated or of the wrong kind.
        """
        try:
            pairs = parse_qsl(
                query.decode("ascii"), keep_blank_values=True, strict_parsing=bool(query),
                max_num_fields=PARAMETERS_MAX, errors="strict",
            )  # fmt: skip
            values = dict(pairs)
            if len(values) != len(pairs):
                raise InvalidParameterError("A query parameter is repeated; send each one once.")
            if NOTHING in values.values():
                raise InvalidParameterError("A query parameter that is not wanted is left out.")
            return msgspec.convert(values, self.parameters, strict=False)
        except (ValueError, UnicodeDecodeError) as error:
            detail = str(error)[:DETAIL_CHARS_MAX]
            raise InvalidParameterError(f"The query cannot be read: {detail}.") from error
