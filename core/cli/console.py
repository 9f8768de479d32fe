"""What a person at the terminal sees: progress, results, refusals with a hint; and the exit code.

Exit codes: 0 done or verified · 1 a check found something · 2 unusable input · 3 refused · 130 interrupted ·
70 a defect of Sekisho itself (reported in one line; SEKISHO_TRACEBACK=1 shows where).

``--json`` prints one object with the same fields and nothing else on standard output, also for a refusal. Progress goes
to standard error.
This is the outermost boundary: the one place where ``except Exception`` stands.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn, ParamSpec

import typer

from ...governance.errors import BadDocumentError, BadSignatureError, BrokenLogError, GovernanceError
from ...governance.errors import Refused as GovernanceRefused
from ...governance.language import LANGUAGES
from ...governance.provenance.refusing import Worded
from ...governance.quoting import plain
from ...privacy.errors import BudgetExceededError, LedgerError, PrivacyError
from ..errors import CheckFailedError, CoreError, Refused

DEFAULT_STUDY = Path("examples/food-quality")  # from the root of a clone, so that a first try needs no argument
DEFAULT_OUT = Path("out")  # git-ignored; what is written there is for reading and can be deleted
DONE, FOUND, UNUSABLE, REFUSED, DEFECT, INTERRUPTED = 0, 1, 2, 3, 70, 130
PIPE_CLOSED = 141  # 128 and SIGPIPE, as other commands end whose reader has gone
REFUSALS = (Refused, GovernanceRefused, BudgetExceededError, BadSignatureError)
CODED = (CoreError, GovernanceError, PrivacyError)
# A ledger that cannot be written is a full disk; every other complaint of a ledger is a refusal to run.
UNWRITABLE_CODES = frozenset({"LEDGER_UNWRITABLE", "LOG_UNWRITABLE", "SUBJECT_KEY_UNWRITABLE"})
# A paper that says what nobody may be allowed is not unreadable: it is refused.
FORBIDDEN_CODES = frozenset({"ROSTER_DEMO_KEY"})
# Without these two nothing shows that anybody allowed anything.
POLICY_FILE, SIGNATURES_END = "policy.yaml", ".dsse.json"
# What a file system says when it holds no more: the disk, this user's share of it, the largest file allowed.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

P = ParamSpec("P")


class Terminal:
    """Prints for one command. ``as_json`` silences progress and prose."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._live = sys.stderr.isatty() and not as_json
        self._stage = ""

    def say(self, text: str = "") -> None:
        """One line of prose on standard output; nothing under ``--json``."""
        self._end_stage()
        if not self.as_json:
            print(seen(text), flush=True)

    def result(self, value: Mapping[str, Any]) -> None:
        """The command's result under ``--json``."""
        if self.as_json:
            print(json.dumps(value, ensure_ascii=False, sort_keys=True, default=str), flush=True)

    def progress(self, stage: str, done: int, total: int) -> None:
        """Show that long work goes on: one line a stage, rewritten on a terminal."""
        if self.as_json:
            return
        if self._live:
            ending = "\n" if done >= total else ""
            print(f"\r  {stage}: {done}/{total} ", end=ending, file=sys.stderr, flush=True)
            self._stage = "" if done >= total else stage
        elif done >= total or done <= 1:
            print(f"  {stage}: {done}/{total}", file=sys.stderr, flush=True)

    def fail(
        self,
        error: Exception,
        exit_code: int,
        *,
        sites: Mapping[str, Exception] = MappingProxyType({}),
        also: Mapping[str, Any] = MappingProxyType({}),
    ) -> NoReturn:
        """Print one refusal or fault with its hint, and leave.

        ``sites`` are the errors of single sites behind it, by site; ``also`` is what the command found before it failed
        and stands in the same JSON object.
        """
        self._end_stage()
        if self.as_json:
            each = {"sites": {site: described(own) for site, own in sites.items()}} if sites else {}
            self.result({**also, "exit": exit_code, **described(error), **each})
            raise SystemExit(exit_code)
        word = "refused" if exit_code == REFUSED else "found" if exit_code == FOUND else "error"
        for sentence, code, hint in told(error, sites):
            print(seen(f"sekisho: {word}: {sentence} [{code}]"), file=sys.stderr)
            if hint:
                print(seen(f"sekisho: hint: {hint}"), file=sys.stderr, flush=True)
        raise SystemExit(exit_code)

    def _end_stage(self) -> None:
        if self._stage:
            print(file=sys.stderr)
            self._stage = ""


def seen(text: str) -> str:
    """The text without what moves a cursor or is not drawn: a name of a file can hold anything."""
    return "\n".join(plain(line) for line in text.split("\n"))


def described(error: Exception) -> dict[str, Any]:
    """What is told of an error: code, sentence, hint, and the place in a file."""
    place: dict[str, Any] = {}
    if isinstance(error, BadDocumentError) and error.file:
        place = {"file": error.file, "line": error.line, "column": error.column}
    code, hint = str(getattr(error, "code", "FAULT")), str(getattr(error, "hint", ""))
    return {"code": code, "sentence": str(error), "hint": hint, **place}


def told(error: Exception, sites: Mapping[str, Exception]) -> list[tuple[str, str, str]]:
    """Sentence, code and hint for people: what several sites say alike is said once; what it amounts to comes last."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    for site, own in sites.items():
        sentence, code, hint = (described(own)[field] for field in ("sentence", "code", "hint"))
        alike.setdefault((sentence.removeprefix(f"{site}: "), code, hint), []).append(site)
    lines = []
    for (sentence, code, hint), said_by in alike.items():
        named = len(said_by) == 1 and re.search(rf"(?<![a-z0-9-]){re.escape(said_by[0])}(?![a-z0-9-])", sentence)
        lines.append((sentence if named else f"{', '.join(said_by)}: {sentence}", code, hint))
    if not any(own is error for own in sites.values()):
        lines.append((str(error), described(error)["code"], described(error)["hint"]))
    return lines


def exit_code_of(error: Exception, *, policy_is_refusal: bool = False) -> int:
    """The exit code that an error amounts to; ``policy_is_refusal`` for commands that act under policies."""
    code = getattr(error, "code", "")
    if isinstance(error, REFUSALS):
        return REFUSED
    if isinstance(error, CheckFailedError):
        return FOUND
    if isinstance(error, LedgerError):
        return UNUSABLE if code in UNWRITABLE_CODES else REFUSED
    if isinstance(error, BadDocumentError) and policy_is_refusal:
        refused = error.file.endswith((POLICY_FILE, SIGNATURES_END)) or code in FORBIDDEN_CODES
        return REFUSED if refused else UNUSABLE
    if isinstance(error, BrokenLogError):
        return UNUSABLE if code in UNWRITABLE_CODES else FOUND
    return UNUSABLE


def guarded(*, policy_is_refusal: bool = False) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Wrap a command so that whatever goes wrong ends in one line, a hint and an exit code."""

    def wrap(command: Callable[P, None]) -> Callable[P, None]:
        @functools.wraps(command)
        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            terminal = Terminal(as_json=bool(kwargs.get("as_json")))
            try:
                command(*args, **kwargs)
            except (typer.Exit, typer.Abort):
                raise
            except CODED as error:
                exit_code = exit_code_of(error, policy_is_refusal=policy_is_refusal)
                terminal.fail(_in_language(error, kwargs.get("language")), exit_code)
            except KeyboardInterrupt:
                # whoever asks a second time is not made to wait for work that is being put down
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                terminal.fail(_Plain("INTERRUPTED", "interrupted", INTERRUPTED_HINT), INTERRUPTED)
            except BrokenPipeError:
                # whoever reads the output has seen enough; nothing more can be printed, not even at exit
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise SystemExit(PIPE_CLOSED) from None
            except OSError as error:
                terminal.fail(_from_os(error), UNUSABLE)
            except Exception as error:  # noqa: BLE001  the outermost boundary: a person never sees a traceback
                if os.environ.get("SEKISHO_TRACEBACK"):
                    traceback.print_exc()
                name = type(error).__name__
                terminal.fail(_Plain("DEFECT", f"unexpected {name}: this is a defect of Sekisho", DEFECT_HINT), DEFECT)

        return run

    return wrap


def _in_language(error: Exception, language: object) -> Exception:
    """A refusal in the language that the command was asked for, where it has words in it."""
    return error.told_in(language) if isinstance(error, Worded) and language in LANGUAGES else error


INTERRUPTED_HINT = "what was started stays charged; steps that never started are given back at the next start"
DISK_FULL_HINT = "free some space; what was charged and logged is kept"
DEFECT_HINT = "nothing was handed over; run again with SEKISHO_TRACEBACK=1 and report it (SECURITY.md)"


class _Plain(Exception):  # noqa: N818  not raised: only printed
    def __init__(self, code: str, sentence: str, hint: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.hint = hint


def _from_os(error: OSError) -> _Plain:
    name = os.path.basename(str(error.filename)) if error.filename else "a file"
    reason = error.strerror or "cannot be used"
    if error.errno in FULL:
        return _Plain("DISK_FULL", f"{name} cannot be written ({reason})", DISK_FULL_HINT)
    return _Plain("FILE_UNUSABLE", f"{name}: {reason}", "check the path and its permissions")
