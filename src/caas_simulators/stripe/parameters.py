"""Form-encoded parameters: nested names, known parameters only, each of its kind.

A form is described by a dict: a kind for a value, a tuple for a choice, a list of one for a list, a
dict for a group. A name that ends in `!` is required.
"""

import re
from typing import Any, Final
from urllib.parse import parse_qsl

from caas_simulators.stripe.refusals import Json, StripeRefusal, invalid

INT: Final = "int"
TEXT: Final = "text"
BOOL: Final = "bool"
METADATA: Final = "metadata"
Form = dict[str, Any]

EXPAND: Final[Form] = {"expand": [TEXT]}
LIST: Final[Form] = {
    **EXPAND, "limit": INT, "starting_after": TEXT, "ending_before": TEXT,
    "created": {"gt": INT, "gte": INT, "lt": INT, "lte": INT},
}  # fmt: skip
METADATA_KEYS_MAX: Final = 50
METADATA_KEY_CHARS_MAX: Final = 40
METADATA_VALUE_CHARS_MAX: Final = 500
TEXT_CHARS_MAX: Final = 5000
INT_MAX: Final = 99_999_999_999
_NAME: Final = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_PART: Final = re.compile(r"\[([^\[\]]*)\]")


def parsed(text: str, form: Form) -> Json:
    """Return the parameters of a query or a body.

    Raises:
        StripeRefusal: one is unknown, missing, or not of its kind.
    """
    tree: Json = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        _put(tree, name, value)
    return _group(tree, form, "")


def _put(tree: Json, name: str, value: str) -> None:
    matched = _NAME.fullmatch(name)
    if matched is None:
        raise _unknown(name)
    path = [matched[1], *_PART.findall(matched[2])]
    for part in path[:-1]:
        tree = tree.setdefault(part or str(len(tree)), {})
        if not isinstance(tree, dict):
            raise _unknown(name)
    tree[path[-1] or str(len(tree))] = value


def _group(given: Any, form: Form, prefix: str) -> Json:
    if not isinstance(given, dict):
        raise invalid("Invalid object", prefix, "parameter_invalid_object")
    known = {name.removesuffix("!"): kind for name, kind in form.items()}
    for name in given:
        if name not in known:
            raise _unknown(_named(prefix, name))
    for name in form:
        if name.endswith("!") and name[:-1] not in given:
            param = _named(prefix, name[:-1])
            raise invalid(f"Missing required param: {param}.", param, "parameter_missing")
    return {name: _value(it, known[name], _named(prefix, name)) for name, it in given.items()}


def _value(given: Any, kind: Any, param: str) -> Any:
    if isinstance(kind, dict):
        return _group(given, kind, param)
    if isinstance(kind, list):
        return _items(given, kind[0], param)
    if kind == METADATA:
        return _metadata(given, param)
    if not isinstance(given, str):
        raise invalid(f"Invalid string: {given}", param, "parameter_invalid_string")
    if isinstance(kind, tuple):
        if given not in kind:
            raise invalid(f"Invalid {param}: must be one of {', '.join(kind)}", param)
        return given
    return _scalar(given, kind, param)


def _scalar(given: str, kind: str, param: str) -> int | bool | str:
    if kind == INT:
        if re.fullmatch(r"-?[0-9]{1,18}", given) is None or abs(int(given)) > INT_MAX:
            raise invalid(f"Invalid integer: {given}", param, "parameter_invalid_integer")
        return int(given)
    if kind == BOOL:
        if given not in ("true", "false"):
            raise invalid(f"Invalid boolean: {given}", param)
        return given == "true"
    if not given:
        message = "You passed an empty string. Remove the parameter, or give it a value."
        raise invalid(message, param, "parameter_invalid_empty")
    if len(given) > TEXT_CHARS_MAX:
        raise invalid(f"{param} is too long.", param, "parameter_invalid_string_length")
    return given


def _items(given: Any, kind: Any, param: str) -> list[Any]:
    if not isinstance(given, dict) or not all(name.isdigit() for name in given):
        raise invalid("Invalid array", param, "parameter_invalid_array")
    return [_value(it, kind, f"{param}[{name}]") for name, it in given.items()]


def _metadata(given: Any, param: str) -> dict[str, str]:
    if not isinstance(given, dict) or len(given) > METADATA_KEYS_MAX:
        raise invalid("Invalid metadata: up to 50 keys can be given.", param)
    for name, value in given.items():
        if not isinstance(value, str) or len(value) > METADATA_VALUE_CHARS_MAX:
            raise invalid("Metadata values can have up to 500 characters.", f"{param}[{name}]")
        if len(name) > METADATA_KEY_CHARS_MAX:
            raise invalid("Metadata keys can have up to 40 characters.", f"{param}[{name}]")
    return dict(given)


def _named(prefix: str, name: str) -> str:
    return f"{prefix}[{name}]" if prefix else name


def _unknown(param: str) -> StripeRefusal:
    message = f"Received unknown parameter: {param}"
    return StripeRefusal(message, code="parameter_unknown", param=param, stored=False)
