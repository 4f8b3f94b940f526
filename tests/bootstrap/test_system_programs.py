"""The programs that only tests need: installed without starting a service, or named."""

from pathlib import Path

import pytest

from bootstrap import system_programs


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine whose folders of programs are empty."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(system_programs, "SYSTEM_FOLDERS", str(tmp_path))


@pytest.mark.usefixtures("nothing_installed")
def test_what_is_missing_is_named() -> None:
    notes: list[str] = []

    system_programs.ensure([], note=notes.append)

    assert notes == [
        "chromium and mosquitto and pgbouncer and prometheus and zsh and fish not found; "
        "tests that need them are skipped."
    ]


@pytest.mark.usefixtures("nothing_installed")
def test_a_run_of_named_tests_installs_nothing() -> None:
    notes: list[str] = []

    system_programs.ensure([f"{__file__}::test_something"], note=notes.append)

    assert notes == []


def test_no_service_starts_while_programs_are_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    policy = tmp_path / "policy-rc.d"
    monkeypatch.setattr(system_programs, "POLICY", policy)

    with system_programs.no_service_starts():
        answered = policy.read_text()

    assert "exit 101" in answered
    assert not policy.exists()


def test_the_administrators_own_policy_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 0\n")
    monkeypatch.setattr(system_programs, "POLICY", policy)

    with system_programs.no_service_starts():
        pass

    assert policy.read_text() == "#!/bin/sh\nexit 0\n"


def test_a_distribution_without_the_browser_that_has_no_screen_gets_the_whole_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[str, ...]] = []

    def apt_get(*words: str) -> bool:
        asked.append(words)
        return words[0] == "update" or "chromium" in words

    monkeypatch.setattr(system_programs, "POLICY", tmp_path / "policy-rc.d")
    monkeypatch.setattr(system_programs, "apt_get", apt_get)

    system_programs.install(["chromium", "mosquitto"])

    assert [words[-2:] for words in asked if words[0] == "install"] == [
        ("chromium-headless-shell", "mosquitto"),
        ("chromium-headless-shell", "mosquitto"),
        ("chromium", "mosquitto"),
    ]


def test_a_browser_with_a_screen_is_replaced_where_programs_can_be_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each window of the whole browser took a second of CPU, in each of a hundred tests."""
    there = {"chromium", "mosquitto", "pgbouncer", "promtool", "zsh", "fish"}
    installed: list[str] = []
    monkeypatch.setattr(system_programs, "_found", there.__contains__)
    monkeypatch.setattr(system_programs, "can_install", lambda: True)
    monkeypatch.setattr(system_programs, "install", installed.extend)

    system_programs.ensure([], note=lambda _: None)
    there.add("chromium-headless-shell")
    system_programs.ensure([], note=lambda _: None)

    assert installed == ["chromium-headless-shell"]


def test_a_browser_with_a_screen_serves_where_nothing_can_be_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = {"google-chrome", "mosquitto", "pgbouncer", "promtool", "zsh", "fish"}
    notes: list[str] = []
    monkeypatch.setattr(system_programs, "_found", there.__contains__)
    monkeypatch.setattr(system_programs, "can_install", lambda: False)

    system_programs.ensure([], note=notes.append)

    assert notes == []
