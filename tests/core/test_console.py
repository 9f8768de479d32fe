"""The terminal: which exit code an error amounts to, one JSON object, one sentence and one hint, never a traceback."""

from __future__ import annotations

import ast
import errno
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer

from sekisho.core.cli.console import Terminal, described, exit_code_of, guarded, told
from sekisho.core.errors import BadInputError, CheckFailedError, CoreError, ProtocolError, Refused
from sekisho.governance.errors import BadDocumentError, BadSignatureError, BrokenLogError, GovernanceError
from sekisho.governance.errors import Refused as GovernanceRefused
from sekisho.privacy.errors import BadParametersError, BudgetExceededError, CiphertextError, LedgerError

ROOT = Path(__file__).resolve().parents[2]
HOUSES = ("core", "governance", "privacy")
SECRET = "a customer's own words"
Capture = pytest.CaptureFixture[str]

# error, its exit code, and its exit code where the command acts under policies
EXIT_CODES: list[tuple[Exception, int, int]] = [
    (Refused("NO", "no"), 3, 3),
    (GovernanceRefused("NO", "no"), 3, 3),
    (BudgetExceededError("BUDGET_EXHAUSTED", "no"), 3, 3),
    (BadSignatureError("BAD", "no"), 3, 3),
    (LedgerError("LEDGER_DAMAGED", "no"), 3, 3),
    (LedgerError("LEDGER_BEHIND", "no"), 3, 3),
    (LedgerError("LEDGER_UNWRITABLE", "full"), 2, 2),
    (LedgerError("SUBJECT_KEY_UNWRITABLE", "full"), 2, 2),
    (BrokenLogError("LOG_UNWRITABLE", "full"), 2, 2),
    (BrokenLogError("LOG_DAMAGED", "found"), 1, 1),
    (CheckFailedError("FOUND", "found"), 1, 1),
    (BadInputError("FILE", "bad"), 2, 2),
    (ProtocolError("MESSAGE", "bad"), 2, 2),
    (GovernanceError("VAULT_UNREADABLE", "bad"), 2, 2),
    (BadParametersError("PLAN", "bad"), 2, 2),
    (CiphertextError("FRAME", "bad"), 2, 2),
    (BadDocumentError("YAML_SYNTAX", "bad", file="study.yaml", line=3, column=1), 2, 2),
    (BadDocumentError("YAML_SYNTAX", "bad", file="roster.yaml"), 2, 2),
    # an unreadable policy permits nothing, unreadable signatures approve nothing
    (BadDocumentError("YAML_SYNTAX", "bad", file="sites/ame/policy.yaml", line=3, column=1), 2, 3),
    (BadDocumentError("SIGNATURES_UNREADABLE", "bad", file="study.yaml.dsse.json", line=1), 2, 3),
    (BadDocumentError("ROSTER_DEMO_KEY", "bad", file="roster.yaml", line=1), 2, 3),
]


@pytest.mark.parametrize(("error", "plain", "acting"), EXIT_CODES, ids=lambda value: getattr(value, "code", None))
def test_exit_codes(error: Exception, plain: int, acting: int) -> None:
    assert exit_code_of(error) == plain
    assert exit_code_of(error, policy_is_refusal=True) == acting


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C as it was: the terminal changes what a second one does."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def run(body: Callable[[], None], *, as_json: bool, acting: bool = False) -> int:
    """The exit code of a command whose body is ``body``."""

    def command(*, as_json: bool) -> None:
        body()

    try:
        guarded(policy_is_refusal=acting)(command)(as_json=as_json)
    except SystemExit as left:
        assert isinstance(left.code, int)
        return left.code
    return 0


def raising(error: BaseException) -> Callable[[], None]:
    def body() -> None:
        raise error

    return body


RAISED: dict[str, tuple[BaseException, int, str]] = {
    "refusal": (Refused("NO_PERMIT", "it is not permitted", "ask for it"), 3, "NO_PERMIT"),
    "document": (BadDocumentError("YAML_SYNTAX", "not read", "mend it", file="study.yaml", line=3), 2, "YAML_SYNTAX"),
    "check": (CheckFailedError("FOUND_IT", "it was found", "look at it"), 1, "FOUND_IT"),
    "interrupt": (KeyboardInterrupt(), 130, "INTERRUPTED"),
    "full disk": (OSError(errno.ENOSPC, "No space left on device", "/a/long/way/summary.json"), 2, "DISK_FULL"),
    "quota": (OSError(errno.EDQUOT, "Disk quota exceeded", "summary.json"), 2, "DISK_FULL"),
    "permissions": (PermissionError(errno.EACCES, "Permission denied", "/a/long/way/summary.json"), 2, "FILE_UNUSABLE"),
    "a file without a name": (OSError(errno.EIO, "Input/output error"), 2, "FILE_UNUSABLE"),
    "defect": (ValueError(SECRET), 70, "DEFECT"),
    "defect with a record": (KeyError(SECRET), 70, "DEFECT"),
    "no memory": (MemoryError(), 70, "DEFECT"),
    "recursion": (RecursionError(SECRET), 70, "DEFECT"),
}


@pytest.mark.parametrize("name", RAISED)
@pytest.mark.usefixtures("interruptible")
def test_whatever_goes_wrong_ends_in_one_line_a_hint_and_an_exit_code(name: str, capsys: Capture) -> None:
    error, code, word = RAISED[name]
    assert run(raising(error), as_json=False) == code
    seen = capsys.readouterr()
    assert seen.out == ""
    line, hint = seen.err.splitlines()
    kind = {3: "refused", 1: "found"}.get(code, "error")
    assert line.startswith(f"sekisho: {kind}: ") and line.endswith(f"[{word}]")
    assert hint.startswith("sekisho: hint: ") and "hint: hint" not in hint
    assert "Traceback" not in seen.err and SECRET not in seen.err and "/a/long/way" not in seen.err

    assert run(raising(error), as_json=True) == code
    seen = capsys.readouterr()
    assert seen.err == ""
    (text,) = seen.out.splitlines()
    value = json.loads(text)
    assert (value["exit"], value["code"]) == (code, word)
    assert value["sentence"] and value["hint"] and SECRET not in text


def test_a_document_is_named_with_line_and_column_in_both_forms(capsys: Capture) -> None:
    error = BadDocumentError("YAML_SYNTAX", "not read", "mend it", file="study.yaml", line=3, column=7)
    run(raising(error), as_json=False)
    assert "study.yaml:3:7: not read" in capsys.readouterr().err
    run(raising(error), as_json=True)
    value = json.loads(capsys.readouterr().out)
    assert (value["file"], value["line"], value["column"]) == ("study.yaml", 3, 7)


@pytest.mark.usefixtures("interruptible")
def test_after_one_interrupt_a_second_one_is_final() -> None:
    run(raising(KeyboardInterrupt()), as_json=False)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL


def test_an_exit_of_the_command_itself_passes(capsys: Capture) -> None:
    with pytest.raises(typer.Exit) as left:
        guarded()(raising(typer.Exit(4)))()
    assert left.value.exit_code == 4
    assert capsys.readouterr().err == ""


def test_the_place_of_a_defect_is_shown_only_when_asked_for(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("SEKISHO_TRACEBACK", "1")
    assert run(raising(ValueError("where")), as_json=False) == 70
    assert "Traceback" in capsys.readouterr().err


def test_several_sites_are_one_object_and_what_they_say_alike_is_said_once(capsys: Capture) -> None:
    alike = {site: Refused("NOT_SIGNED", f"{site}: it is not signed", "sign it", site=site) for site in ("ame", "yuki")}
    other = BadDocumentError("YAML_SYNTAX", "not read", "mend it", file="sites/hana/policy.yaml", line=3, column=1)
    nameless = LedgerError("LEDGER_DAMAGED", "the ledger is damaged", "restore it")
    sites: dict[str, Exception] = {**alike, "hana": other, "mori": nameless}
    assert told(other, sites) == [
        ("ame, yuki: it is not signed", "NOT_SIGNED", "sign it"),
        ("sites/hana/policy.yaml:3:1: not read", "YAML_SYNTAX", "mend it"),
        ("mori: the ledger is damaged", "LEDGER_DAMAGED", "restore it"),
    ]
    together = Refused("TOGETHER", "all in all, no", "wait")
    assert told(together, sites)[-1] == ("all in all, no", "TOGETHER", "wait")
    with pytest.raises(SystemExit):
        Terminal(as_json=True).fail(together, 3, sites=sites, also={"decisions": {}})
    (line,) = capsys.readouterr().out.splitlines()
    value = json.loads(line)
    assert (value["exit"], value["code"], value["decisions"]) == (3, "TOGETHER", {})
    assert {site: own["code"] for site, own in value["sites"].items()} == {
        site: described(error)["code"] for site, error in sites.items()
    }


def test_json_silences_prose_and_progress(capsys: Capture) -> None:
    terminal = Terminal(as_json=True)
    terminal.say("prose")
    terminal.progress("steps", 1, 2)
    terminal.result({"a": "珈琲"})
    seen = capsys.readouterr()
    assert (seen.out, seen.err) == ('{"a": "珈琲"}\n', "")


def test_progress_goes_to_standard_error_and_says_when_it_begins_and_ends(capsys: Capture) -> None:
    terminal = Terminal()
    for done in range(5):
        terminal.progress("features", done, 4)
    terminal.say("done")
    seen = capsys.readouterr()
    assert seen.out == "done\n"
    assert [line.strip() for line in seen.err.splitlines()] == ["features: 0/4", "features: 1/4", "features: 4/4"]


def test_no_hint_brings_its_own_label_and_every_refusal_of_core_has_one() -> None:
    errors = {
        *(cls.__name__ for cls in (CoreError, Refused, BadInputError, CheckFailedError)),
        *(cls.__name__ for cls in (BadDocumentError, BadSignatureError, BrokenLogError, GovernanceError)),
        *(cls.__name__ for cls in (BudgetExceededError, BadParametersError, CiphertextError, LedgerError)),
    }
    seen = 0
    for house in HOUSES:
        for path in (ROOT / house).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if not isinstance(node, ast.Call) or getattr(node.func, "id", "") not in errors:
                    continue
                hints = [word.value for word in node.keywords if word.arg == "hint"] + node.args[2:3]
                texts = [part.value for hint in hints for part in ast.walk(hint) if isinstance(part, ast.Constant)]
                assert not any(str(text).lstrip().lower().startswith("hint") for text in texts), f"{path}:{node.lineno}"
                if house == "core" and getattr(node.func, "id", "") == "Refused":
                    assert hints, f"{path}:{node.lineno}: a refusal without a hint"
                seen += 1
    assert seen > 100


def test_what_a_file_is_called_moves_no_cursor(capsys: Capture) -> None:
    Terminal().say("stops/\x1b[2J\x1b[Hno stop lies here\x1b[8m\nnext\u202eline")
    assert capsys.readouterr().out == "stops/\ufffd[2J\ufffd[Hno stop lies here\ufffd[8m\nnext\ufffdline\n"


def test_a_reader_that_has_seen_enough_is_no_fault(tmp_path: Path) -> None:
    words = f"{sys.executable} -c 'from sekisho.core.cli.cli import main; main()' legal template"
    done = subprocess.run(["bash", "-c", f"{words} | head -1"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stderr == "" and done.stdout.count("\n") == 1
