"""The check `reachable`: what no door reaches is found, what one reaches is not."""

import shutil
from pathlib import Path

import pytest

from bootstrap.reachability import ALLOWED, SOURCES, unreachable

INSTALLATION = {
    "cli.py": """
from caas.sale import Sale
from caas.tables import OPERATIONS

app = App()


@app.command()
def serve() -> None:
    Sale().gather()
    serving(OPERATIONS)
""",
    "tables.py": """
def list_cars(api):
    return api.sale.cars()


OPERATIONS = (list_cars,)
""",
    "sale.py": """
class Sale:
    def gather(self):
        self.sell = Desk().sell
        self.hand_back = Desk().hand_back

    def cars(self):
        return self.sell()


class Desk:
    def sell(self):
        return 1

    def hand_back(self):
        return 2
""",
}


def built(folder: Path, files: dict[str, str]) -> Path:
    sources = folder / "caas"
    sources.mkdir()
    for name, text in files.items():
        (sources / name).write_text(text)
    return sources


def test_a_method_that_is_handed_on_and_never_called_is_found(tmp_path: Path) -> None:
    assert unreachable(built(tmp_path, INSTALLATION), ()) == ["caas.sale.Desk.hand_back"]


def test_a_module_that_nothing_imports_reaches_nothing(tmp_path: Path) -> None:
    caller = "from caas.sale import Desk\n\nBACK = Desk().hand_back()\n"

    sources = built(tmp_path, {**INSTALLATION, "aside.py": caller})

    assert unreachable(sources, ()) == ["caas.sale.Desk.hand_back"]


def test_what_a_page_names_is_reached(tmp_path: Path) -> None:
    sources = built(tmp_path, {**INSTALLATION, "page.html": "{{ desk.hand_back() }}"})

    assert unreachable(sources, ()) == []


@pytest.mark.parametrize(
    ("file", "owner"),
    [
        ("order_management/withdrawal.py", "caas.order_management.withdrawal.Withdrawal"),
        ("billing/__init__.py", "caas.billing.Billing"),
    ],
)
def test_a_public_method_planted_in_the_platform_is_found(
    tmp_path: Path, file: str, owner: str
) -> None:
    sources = tmp_path / "caas"
    shutil.copytree(SOURCES, sources, ignore=shutil.ignore_patterns("__pycache__", "static"))
    planted = sources / file
    text = planted.read_text("utf-8")
    place = f"class {owner.rpartition('.')[2]}:\n"
    begin = text.index(place) + len(place)
    method = "\n    async def nobody_calls_this(self) -> None:\n        pass\n"
    planted.write_text(text[:begin] + method + text[begin:], "utf-8")

    assert set(unreachable(sources)) - set(ALLOWED) == {f"{owner}.nobody_calls_this"}
