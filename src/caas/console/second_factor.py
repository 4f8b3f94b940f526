"""Two-step verification for operations: TOTP (RFC 6238) and recovery codes.

It is set up with a QR code and confirmed with a code of it. Who has one gives it at every sign-in;
where the settings require it, nobody of operations comes further without. Only another person can
take it away (`operations_staff`), for whoever has lost the telephone and the recovery codes.

Rules a change must keep: the secret and the recovery codes are shown once, to whoever sets them up;
a code counts once; a code of the last or the next half minute is taken, because clocks differ.
"""

import base64
import os
import re
from dataclasses import dataclass
from typing import Final

import pyotp

from caas.billing_database.accounts import Account, Role
from caas.billing_database.audit_events import AuditType, audit
from caas.billing_database.connection import Connection
from caas.billing_database.sessions import SecondFactor, Session
from caas.console import sign_in
from caas.console.context import Console
from caas.console.page_routes import EVERYBODY, HOMES, NotYourPageError, PageRoute, get, post
from caas.console.request import PageRequest
from caas.console.session_start import SECOND_FACTOR_PATH, Admitted, let_in
from caas.web.forms import filled
from caas.web.response import Response, is_own_path, see_other

SECRET_BYTES: Final = 20
STEP_SECONDS: Final = 30
STEPS_OF_DRIFT: Final = (0, -1, 1)
ISSUER: Final = "CaaS"
RECOVERY_CODES: Final = 10
RECOVERY_CODE_BYTES: Final = 10
REFUSED: Final = 422
_CODE: Final = re.compile("[0-9]{6}")
_RECOVERY_CODE: Final = re.compile("[a-z2-7]{16}")


@dataclass(frozen=True, slots=True)
class _Asked:
    """Who is asked for a second factor, or sets one up, and the session that says so."""

    session: Session
    account: Account
    factor: SecondFactor | None

    @property
    def has_factor(self) -> bool:
        return self.factor is not None and self.factor.confirmed_at is not None


async def second_factor(console: Console, request: PageRequest) -> Response:
    """Ask for the code, or have the second factor set up first."""
    asked = await _asked(console, request)
    if asked is None:
        return see_other("/sign-in")
    if request.session is not None:
        return see_other(HOMES[request.session.role])
    return _page(console, request, asked)


async def give_code(console: Console, request: PageRequest) -> Response:
    """Sign in with a code of the app or a recovery code."""
    asked = await _asked(console, request)
    if asked is None or not asked.has_factor:
        return see_other(SECOND_FACTOR_PATH)
    used = await _judged(console, request, asked)
    if used is None:
        return _page(console, request, asked, wrong=True)
    await _let_in(console, request, asked)
    return see_other(_next(request) or HOMES[asked.account.role])


async def enrol(console: Console, request: PageRequest) -> Response:
    """Make a secret, and show it this once."""
    asked = await _asked(console, request)
    if asked is None or asked.has_factor:
        return see_other(SECOND_FACTOR_PATH)
    secret = os.urandom(SECRET_BYTES)
    sealed = console.settings.sign_in_keys.seal(secret, account=asked.account.id)
    if not await console.second_factors.begin(asked.account.id, sealed):
        return see_other(SECOND_FACTOR_PATH)
    text = base64.b32encode(secret).decode()
    uri = pyotp.TOTP(text).provisioning_uri(name=asked.session.name, issuer_name=ISSUER)
    groups = " ".join(text[place : place + 4] for place in range(0, len(text), 4))
    return console.page(
        request,
        "second_factor_enrol.html",
        uri=uri,
        secret=groups,
        wrong=False,
        next=_next(request),
    )


async def confirm(console: Console, request: PageRequest) -> Response:
    """Let the second factor count once its first code is right, and show the recovery codes."""
    asked = await _asked(console, request)
    if asked is None or asked.has_factor or asked.factor is None:
        return see_other(SECOND_FACTOR_PATH)
    this_try = await _try(console, request, asked)
    step = _step(console, asked.factor, request.form.get("code", ""))
    codes = [_new_recovery_code() for _ in range(RECOVERY_CODES)]
    if step is None:
        await this_try.was_wrong(asked.account.id)
        return console.page(
            request, "second_factor_enrol.html", uri="", secret="", wrong=True, next=_next(request),
            status=REFUSED,
        )  # fmt: skip
    if not await _confirmed(console, request, asked.factor, step, codes):
        return see_other(SECOND_FACTOR_PATH)
    await this_try.was_right()
    await _let_in(console, request, asked)
    return console.page(
        request, "second_factor_codes.html", codes=[_grouped(code) for code in codes],
        next=_next(request) or HOMES[asked.account.role],
    )  # fmt: skip


async def leave(console: Console, request: PageRequest) -> Response:
    """Return to the sign-in page."""
    await console.sessions.end(request)
    return see_other("/sign-in")


async def _asked(console: Console, request: PageRequest) -> _Asked | None:
    """Return who is half or wholly signed in, None when nobody is.

    Raises:
        NotYourPageError: the account is not of operations, who alone have second factors.
    """
    session = request.awaiting or request.session
    if session is None:
        return None
    if session.role is not Role.OPERATIONS:
        raise NotYourPageError
    account = await console.accounts.get(session.account)
    assert account is not None, "a session's account is there"
    return _Asked(session, account, await console.second_factors.of(account.id))


async def _try(console: Console, request: PageRequest, asked: _Asked) -> sign_in.Try:
    return await sign_in.begin(console, request, asked.session.name, what="second factor")


async def _judged(console: Console, request: PageRequest, asked: _Asked) -> AuditType | None:
    """Use up the code that was typed, and say which kind it was; None when it is not right."""
    assert asked.factor is not None, "only an account with a second factor is asked for a code"
    this_try = await _try(console, request, asked)
    factor, typed = asked.factor, request.form.get("code", "")
    step, recovery = _step(console, factor, typed), _recovery_code(typed)

    async def use(connection: Connection) -> AuditType | None:
        used = None
        if step is not None:
            if await console.second_factors.take_step(factor.id, step, within=connection):
                used = AuditType.SECOND_FACTOR_USED
        elif recovery is not None and await console.second_factors.use_code(
            factor.id, recovery, within=connection
        ):
            used = AuditType.RECOVERY_CODE_USED
        await audit(
            used or AuditType.SECOND_FACTOR_REFUSED, by=factor.account, subject=factor.account,
            address=request.address, within=connection,
        )  # fmt: skip
        return used

    used = await console.platform.tables.database.in_transaction(use)
    if used is None:
        await this_try.was_wrong(factor.account)
    else:
        await this_try.was_right()
    return used


async def _confirmed(
    console: Console, request: PageRequest, factor: SecondFactor, step: int, codes: list[str]
) -> bool:
    async def together(connection: Connection) -> bool:
        done = await console.second_factors.confirm(
            factor.id, step=step, codes=codes, within=connection
        )
        if done:
            await audit(
                AuditType.SECOND_FACTOR_ENROLLED, by=factor.account, subject=factor.account,
                address=request.address, within=connection,
            )  # fmt: skip
        return done

    return await console.platform.tables.database.in_transaction(together)


async def _let_in(console: Console, request: PageRequest, asked: _Asked) -> None:
    admitted = Admitted(asked.account, asked.session.name)
    await let_in(console, request, admitted, second_factor=True)
    request.session, request.awaiting = None, None


def _step(console: Console, factor: SecondFactor, typed: str) -> int | None:
    """Return the time step whose code was typed, near the present one, None when it is none."""
    code = "".join(typed.split())
    if _CODE.fullmatch(code) is None:
        return None
    keys = console.settings.sign_in_keys
    secret = keys.unseal(factor.sealed_secret, account=factor.account)
    passwords = pyotp.HOTP(base64.b32encode(secret).decode())
    present = int(factor.now) // STEP_SECONDS
    for drift in STEPS_OF_DRIFT:
        if passwords.verify(code, present + drift):
            return present + drift
    return None


def _new_recovery_code() -> str:
    return base64.b32encode(os.urandom(RECOVERY_CODE_BYTES)).decode().lower()


def _grouped(code: str) -> str:
    return "-".join(code[place : place + 4] for place in range(0, len(code), 4))


def _recovery_code(typed: str) -> str | None:
    plain = "".join(sign for sign in typed.lower() if sign.isalnum())
    return plain if _RECOVERY_CODE.fullmatch(plain) else None


def _next(request: PageRequest) -> str | None:
    path = filled(request.form or request.query, "next", chars_max=500) or ""
    return path if is_own_path(path) and path != "/" else None


def _page(
    console: Console, request: PageRequest, asked: _Asked, *, wrong: bool = False
) -> Response:
    return console.page(
        request,
        "second_factor.html",
        has_factor=asked.has_factor,
        wrong=wrong,
        next=_next(request),
        status=REFUSED if wrong else 200,
    )


SECOND_FACTOR_ROUTES: Final[tuple[PageRoute, ...]] = (
    get(SECOND_FACTOR_PATH, second_factor, EVERYBODY),
    post(SECOND_FACTOR_PATH, give_code, EVERYBODY),
    post(SECOND_FACTOR_PATH + "/enrol", enrol, EVERYBODY),
    post(SECOND_FACTOR_PATH + "/confirm", confirm, EVERYBODY),
    post(SECOND_FACTOR_PATH + "/leave", leave, EVERYBODY),
)
