"""Decodes query parameters into the struct of their operation, as strictly as bodies.

Rule a change must keep: unknown and repeated parameters are rejected, because an ignored filter
returns more than the caller asked for.
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
"""Values that a lax decoder would treat as an omitted parameter."""

Limit = Annotated[
    int, msgspec.Meta(ge=1, le=PAGE_ROWS_MAX, description="The maximum number of items in a page.")
]

Parameters = TypeVar("Parameters", bound=msgspec.Struct)


class QueryOf(Generic[Parameters]):
    """The decoder of one query type."""

    def __init__(self, parameters: type[Parameters]) -> None:
        """Decode queries into this struct."""
        assert parameters.__struct_config__.forbid_unknown_fields, f"{parameters} is not strict"
        self.parameters = parameters

    def read(self, query: bytes) -> Parameters:
        """Return the parameters.

        Raises:
            InvalidParameterError: one is unknown, repeated or invalid.
        """
        try:
            pairs = parse_qsl(
                query.decode("ascii"), keep_blank_values=True, strict_parsing=bool(query),
                max_num_fields=PARAMETERS_MAX, errors="strict",
            )  # fmt: skip
            values = dict(pairs)
            if len(values) != len(pairs):
                raise InvalidParameterError("A query parameter is repeated. Send each one once.")
            if NOTHING in values.values():
                raise InvalidParameterError("A query parameter is empty. Omit it instead.")
            return msgspec.convert(values, self.parameters, strict=False)
        except (ValueError, UnicodeDecodeError) as error:
            detail = str(error)[:DETAIL_CHARS_MAX]
            raise InvalidParameterError(f"The query is invalid: {detail}.") from error
