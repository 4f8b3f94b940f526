"""Where everything is: the seed's participants and the modules they became, one line each.

The line of a module is the first sentence of its docstring, so that the map is as true as the
sources themselves.

Rules a change must keep: a participant of the seed stands here with a module that exists; nothing
is imported to make the map but what gives a kind of jobs its name.
"""

import ast
import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCES: Final = ROOT / "src"

PARTICIPANTS: Final[Mapping[str, tuple[str, ...]]] = {
    "Corporate Intranet": ("caas.console.intranet",),
    "Web Platform, Mobile Application": ("caas.console.customer",),
    "Operations": ("caas.console.operations",),
    "Payment Processing Subsystem": ("caas.payment_processing",),
    "Order Management Subsystem": ("caas.order_management",),
    "Service Catalog Subsystem": ("caas.service_catalog",),
    "Billing Subsystem": ("caas.billing",),
    "OTA Activation Engine": ("caas.ota_activation_engine",),
    "Billing Database": ("caas.billing_database",),
    "Webhook Handler": ("caas.api.webhook_handler",),
    "Internal Payment API": ("caas.api.payments",),
    "Payment Gateway": (
        "caas.external_systems.payment_gateway",
        "caas_simulators.payment_gateway",
    ),
    "Banking Networks": ("caas_simulators.banking_network",),
    "Factory API": ("caas.external_systems.factory", "caas_simulators.order_partners"),
    "Admin Registration API": (
        "caas.external_systems.admin_registration",
        "caas_simulators.order_partners",
    ),
    "Transport System": (
        "caas.external_systems.transport_system",
        "caas_simulators.order_partners",
    ),
    "IoT Gateway": ("caas.external_systems.iot_gateway",),
    "Vehicle": ("caas_simulators.vehicles",),
    "Customer, Dealership, Operations (as readers)": ("caas.notifications",),
}


def participants() -> str:
    """List the seed's participants with their modules."""
    lines = ["| participant | module | what it is |", "|---|---|---|"]
    lines += [
        f"| {participant} | `{name}` | {first_sentence(file_of(name))} |"
        for participant, names in PARTICIPANTS.items()
        for name in names
    ]
    return "\n".join(lines)


def modules() -> str:
    """List every module, package by package."""
    lines = []
    for folder in ("caas", "caas_lab", "caas_simulators"):
        lines += ["", f"### {folder}", "", "| module | what it is |", "|---|---|"]
        lines += [
            f"| `{name_of(path)}` | {first_sentence(path)} |"
            for path in sorted((SOURCES / folder).rglob("*.py"), key=name_of)
        ]
    return "\n".join(lines)


def jobs() -> str:
    """List the kinds of jobs with the handler that takes each."""
    rows = sorted(
        f"| `{kind}` | `{handler}` |"
        for path in (SOURCES / "caas").rglob("*.py")
        for kind, handler in registered(path)
    )
    return "\n".join(["| kind | handler |", "|---|---|", *rows])


def registered(path: Path) -> Iterator[tuple[str, str]]:
    """Yield each kind of work that a module registers, and its handler."""
    tree = ast.parse(path.read_text("utf-8"))
    for owner in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        for call in ast.walk(owner):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "jobs.register":
                constant, handler = map(ast.unparse, call.args)
                kind = getattr(importlib.import_module(name_of(path)), constant)
                yield kind, f"{name_of(path)}.{owner.name}: {handler}"


def file_of(module: str) -> Path:
    """Return the file of a module."""
    path = SOURCES.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def name_of(path: Path) -> str:
    """Return the module's name of a file."""
    parts = path.relative_to(SOURCES).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def first_sentence(path: Path) -> str:
    """Return the first sentence of a file's docstring, on one line."""
    stated = " ".join((ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").split())
    first = stated.partition(". ")[0].removesuffix(".")
    return first.replace("|", "\\|") + "."
