"""HTTP behaves alike on uvloop, the event loop of operation."""

import inspect
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor

import pytest
import uvloop

from tests.external_systems import test_http, test_http_connections

SCENARIOS = [
    scenario
    for module in (test_http, test_http_connections)
    for name, scenario in vars(module).items()
    if name.startswith("test_")
    and inspect.iscoroutinefunction(scenario)
    and not inspect.signature(scenario).parameters
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_it_is_the_same_on_the_event_loop_of_operation(
    scenario: Callable[[], Coroutine[None, None, None]],
) -> None:
    with ThreadPoolExecutor(1) as thread:
        thread.submit(uvloop.run, scenario()).result()
