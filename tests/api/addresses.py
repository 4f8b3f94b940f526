"""Addresses of operations, of things that nobody has."""

import re
from typing import Any

from caas.api.operation import Operation

NOBODYS_ID = "01a20737-8baa-7443-b3c7-3e6890dce6ea"
NOBODYS = {"vin": "NOBODYSCAR", "month": "2019-01", "day": "2019-01-01"}
"""What stands for nobody where an address has no UUID."""


def address(operation: Operation, **ids: Any) -> str:
    """The path of an operation, of things that nobody has unless they are given."""

    def value(place: re.Match[str]) -> str:
        name, kind = place.groups()
        return str(ids.get(name, NOBODYS_ID if kind == "uuid" else NOBODYS.get(name, "nobodys")))

    return re.sub(r"{(\w+):(\w+)}", value, operation.path)
