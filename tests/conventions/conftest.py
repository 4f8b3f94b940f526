"""What the tests of this folder share: the sources, read once and let go when they are over."""

from collections.abc import Iterator

import pytest

from tests.conventions.sources import source


@pytest.fixture(autouse=True, scope="module")
def let_go() -> Iterator[None]:
    """Forget the syntax trees: pytest looks through all that is left when it ends, five times."""
    yield
    source.cache_clear()
