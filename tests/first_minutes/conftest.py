"""Fresh clones for the tests of the first minutes."""

from pathlib import Path

import pytest

from tests.first_minutes.checkout import Checkout, cloned


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A fresh clone that was set up, and in which nothing was ever started."""
    return cloned(tmp_path)


@pytest.fixture
def another_checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A second clone beside the first."""
    return cloned(tmp_path_factory.mktemp("another"))
