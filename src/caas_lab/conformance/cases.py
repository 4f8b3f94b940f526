"""Cases and their verdicts.

A case is a function of what is tested. It passes if it returns, and fails with a sentence that says
what was expected and what came instead.

Rules a change must keep: a case is excused by a capability that the adapter declares it lacks, and
by nothing else; what could not be tried has not passed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Final, Generic, TypeVar

import msgspec

from caas.errors import CaasError
from caas.rules.card_numbers import scrub

Subject = TypeVar("Subject")
CASE_SECONDS_MAX: Final = 300.0


class NotConformingError(Exception):
    """What is tested does not do what it must; the message says so in one sentence."""


class MeansMissingError(Exception):
    """The case cannot be tried; the message says what it needs."""


class Verdict(StrEnum):
    """The result of a case."""

    PASSED = "passed"
    FAILED = "failed"
    EXCUSED = "excused"
    NOT_TRIED = "not tried"


class Case(msgspec.Struct, Generic[Subject], frozen=True):
    """A case; `needs` are the capabilities without which it is excused."""

    run: Callable[[Subject], Awaitable[None]]
    needs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name by which it is selected."""
        return self.run.__name__

    @property
    def requirement(self) -> str:
        """What the case requires, from its docstring."""
        return (self.run.__doc__ or "").partition("\n\n")[0].replace("\n    ", " ")


class CaseResult(msgspec.Struct, frozen=True):
    """What came of a case, with the reason unless it passed."""

    name: str
    requirement: str
    verdict: Verdict
    reason: str = ""


class ConformanceReport(msgspec.Struct, frozen=True, kw_only=True):
    """The results of a run, what they are about, and what its adapter declares."""

    about: str
    capabilities: dict[str, object]
    cases: list[CaseResult]


def check(holds: bool, sentence: str) -> None:  # noqa: FBT001  # reads as a sentence
    """Require that something holds.

    Raises:
        NotConformingError: it does not.
    """
    if not holds:
        raise NotConformingError(sentence)


async def run_cases(
    cases: Sequence[Case[Subject]],
    subject: Subject,
    *,
    lacks: Callable[[str], bool],
    on_result: Callable[[CaseResult], None] = lambda _result: None,
) -> list[CaseResult]:
    """Run cases one after the other; `lacks` tells whether a capability is declared as absent."""
    results = []
    for case in cases:
        results.append(await _result_of(case, subject, lacks))
        on_result(results[-1])
    return results


async def _result_of(
    case: Case[Subject], subject: Subject, lacks: Callable[[str], bool]
) -> CaseResult:
    missing = [need for need in case.needs if lacks(need)]
    if missing:
        reason = f"it declares that it has no {', '.join(missing)}"
        return CaseResult(case.name, case.requirement, Verdict.EXCUSED, reason)
    verdict, reason = Verdict.PASSED, ""
    try:
        async with asyncio.timeout(CASE_SECONDS_MAX):
            await case.run(subject)
    except NotConformingError as error:
        verdict, reason = Verdict.FAILED, str(error)
    except MeansMissingError as error:
        verdict, reason = Verdict.NOT_TRIED, str(error)
    except TimeoutError:
        verdict, reason = Verdict.FAILED, f"It did not end within {CASE_SECONDS_MAX:.0f} s."
    except CaasError as error:
        verdict, reason = Verdict.FAILED, error.sentence
    except Exception as error:  # noqa: BLE001  # an adapter may raise whatever it likes
        verdict, reason = Verdict.FAILED, f"It raised {type(error).__name__}: {error}"
    return CaseResult(case.name, case.requirement, verdict, scrub(reason))
