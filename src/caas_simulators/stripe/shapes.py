"""How objects are shown: our own fields left out, and expanded where that was asked for."""

from typing import Any, Final

from caas_simulators.stripe.refusals import Json, StripeRefusal
from caas_simulators.stripe.store import Store

KIND_OF_FIELD: Final = {
    "latest_charge": "charge", "balance_transaction": "balance_transaction",
    "customer": "customer", "payment_intent": "payment_intent", "setup_intent": "setup_intent",
    "payment_method": "payment_method", "charge": "charge",
}  # fmt: skip
DEPTH_MAX: Final = 4


def shown(store: Store, one: Json, expand: list[str] | None = None) -> Json:
    """Return an object as it goes on the wire.

    Raises:
        StripeRefusal: what should be expanded cannot be.
    """
    copy: Json = _public(store, one)
    for path in expand or ():
        parts = path.split(".")
        if len(parts) > DEPTH_MAX:
            raise StripeRefusal("You cannot expand more than 4 levels deep.", param="expand",
                                stored=False)  # fmt: skip
        _expand(store, copy, parts, path)
    return copy


def _expand(store: Store, copy: Json, parts: list[str], path: str) -> None:
    first, *rest = parts
    if first == "data" and copy.get("object") == "list":
        for item in copy["data"]:
            _expand(store, item, rest, path)
        return
    kind = KIND_OF_FIELD.get(first)
    if kind is None or first not in copy:
        message = f"This property cannot be expanded ({first}): {path}"
        raise StripeRefusal(message, param="expand", stored=False)
    value = copy[first]
    if isinstance(value, str):
        found = store.find(kind, value)
        assert found is not None, f"{path} leads to nothing"
        copy[first] = value = _public(store, found)
    if rest and isinstance(value, dict):
        _expand(store, value, rest, path)


def _public(store: Store, value: Any) -> Any:
    if isinstance(value, list):
        return [_public(store, one) for one in value]
    if not isinstance(value, dict):
        return value
    copy = {name: _public(store, one) for name, one in value.items() if not name.startswith("_")}
    if value.get("object") == "balance_transaction":
        copy["status"] = "available" if value["available_on"] <= store.now() else "pending"
    return copy
