"""The shape of the installation: small functions, small files, and every file says what it is."""

import statistics

from tests.conventions.sources import ROOT, Source, length, source, sources

OURS = ("src", "bootstrap")
FUNCTION_LINES_MAX = 50
FUNCTION_LINES_P90 = 30
FUNCTION_LINES_MEDIAN = 10
FILE_LINES_MAX = 400
FILE_LINES_P90 = 350
TEST_FILE_LINES_MAX = 600
COMPOSING = "_built"  # a test's own composition root names every room once
FEW = 40  # a docstring shorter than this says nothing
BANNED_NAMES = {
    "base",
    "common",
    "constants",
    "core",
    "exceptions",
    "helper",
    "helpers",
    "manager",
    "managers",
    "misc",
    "model",
    "models",
    "service",
    "services_layer",
    "shared",
    "types",
    "util",
    "utils",
}


def test_no_function_is_longer_than_a_screen() -> None:
    too_long = [
        f"{source.path}:{function.lineno} {function.name}: {length(function)} lines"
        for source in sources(*OURS, "tests")
        for function in source.functions()
        if length(function) > FUNCTION_LINES_MAX and function.name != COMPOSING
    ]

    assert too_long == []


def test_most_functions_are_short() -> None:
    lengths = [length(function) for source in sources(*OURS) for function in source.functions()]

    assert statistics.median(lengths) <= FUNCTION_LINES_MEDIAN
    assert statistics.quantiles(lengths, n=10)[-1] <= FUNCTION_LINES_P90


def test_no_file_needs_a_map_of_its_own() -> None:
    limits = {"src": FILE_LINES_MAX, "bootstrap": FILE_LINES_MAX, "tests": TEST_FILE_LINES_MAX}

    too_long = [
        f"{source.path}: {source.lines} lines"
        for folder, limit in limits.items()
        for source in sources(folder)
        if source.lines > limit
    ]

    assert too_long == []


def test_most_files_are_short() -> None:
    lengths = [source.lines for source in sources(*OURS)]

    assert statistics.quantiles(lengths, n=10)[-1] <= FILE_LINES_P90


def test_every_file_says_what_it_is() -> None:
    silent = [
        source.path
        for source in (*sources(*OURS, "tests"), script())
        if len(source.docstring) < FEW
    ]

    assert silent == []


def test_no_file_is_a_drawer_for_whatever_has_no_place() -> None:
    drawers = [
        source.path
        for source in sources(*OURS)
        if BANNED_NAMES & set(source.path.removesuffix(".py").split("/"))
    ]

    assert drawers == []


def script() -> Source:
    """Return `./caas`, which has no suffix."""
    return source(ROOT / "caas")
