"""A signer that is a command: openssl signs with a key that we never see; whatever else it does is refused."""

from __future__ import annotations

import base64
import shutil
import sys
from pathlib import Path

import pytest

from sekisho.governance.errors import Refused
from sekisho.governance.signing.envelope import PREDICATES, Statement, Subject, sign_statement, verify_envelope
from sekisho.governance.signing.keys import SigningKey
from sekisho.governance.signing.signer import Signer
from sekisho.governance.signing.signer_command import CommandSigner

KEY = SigningKey.from_seed(b"k" * 32)
OTHER = SigningKey.from_seed(b"o" * 32)
DATA = b"DSSEv1 what is signed"
GOOD = base64.b64encode(KEY.sign(DATA)).decode("ascii")


def python(tmp_path: Path, program: str) -> str:
    """A command that runs a Python program; names with spaces are quoted as a person would."""
    script = tmp_path / "my signer.py"
    script.write_text(program, "utf-8")
    return f"{sys.executable} '{script}'"


def refused(command: str, *, seconds: float = 20.0, data: bytes = DATA) -> str:
    with pytest.raises(Refused) as caught:
        CommandSigner.of(command, [KEY.public], seconds=seconds).sign(data)
    assert caught.value.hint
    return caught.value.code


def test_a_key_in_a_file_and_one_behind_a_command_are_both_signers(tmp_path: Path) -> None:
    signers: list[Signer] = [KEY, CommandSigner.of(python(tmp_path, f"print('{GOOD}')"), [KEY.public])]
    assert {signer.sign(DATA) for signer in signers} == {KEY.sign(DATA)}
    assert [signer.demo for signer in signers] == [False, False]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_openssl_signs_a_statement_with_a_key_that_stays_with_it(tmp_path: Path) -> None:
    KEY.save(tmp_path / "secret.pem", None)
    script = tmp_path / "token.sh"
    script.write_text(
        f"#!/bin/sh\nopenssl pkeyutl -sign -rawin -inkey '{tmp_path}/secret.pem' -in /dev/stdin | openssl base64 -A\n",
        "utf-8",
    )
    script.chmod(0o700)
    signer = CommandSigner.of(str(script), [KEY.public])
    statement = Statement((Subject("study.yaml", "sha256:" + "a" * 64),), PREDICATES["study-approval"], {"x": 1})
    envelope = sign_statement(statement, [signer])
    assert verify_envelope(envelope, {KEY.public.key_id: KEY.public}) == (statement, {KEY.public.key_id})
    # the same token under a roster that lists another key
    with pytest.raises(Refused) as caught:
        sign_statement(statement, [CommandSigner.of(str(script), [OTHER.public])])
    assert caught.value.code == "SIGNER_WRONG_KEY"


def test_the_command_gets_the_bytes_on_a_standard_input_that_has_a_size(tmp_path: Path) -> None:
    out = tmp_path / "seen"
    program = f"import os, sys, pathlib\nd = sys.stdin.buffer.read()\npathlib.Path(r'{out}').write_bytes(d + b'|%d' % "
    program += f"os.fstat(0).st_size)\nprint('{GOOD}')"
    CommandSigner.of(python(tmp_path, program), [KEY.public]).sign(DATA)
    assert out.read_bytes() == DATA + b"|%d" % len(DATA)


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("raise SystemExit(3)", "SIGNER_FAILED"),
        (f"print('{GOOD}'); raise SystemExit(1)", "SIGNER_FAILED"),  # a good signature and a bad end
        ("", "SIGNER_GARBAGE"),
        ("print('no key today')", "SIGNER_GARBAGE"),
        (f"print('{GOOD[:-4]}')", "SIGNER_GARBAGE"),
        (f"print('{GOOD}'); print('{GOOD}')", "SIGNER_GARBAGE"),
        (f"print('{GOOD}' + ' ' * 300)", "SIGNER_GARBAGE"),
        ("import sys; sys.stdout.buffer.write(bytes(64))", "SIGNER_GARBAGE"),
        ("while True: print('x' * 4096)", "SIGNER_GARBAGE"),  # for ever: cut off, not collected
        (f"print('{base64.b64encode(bytes(64)).decode()}')", "SIGNER_WRONG_KEY"),
        (f"print('{base64.b64encode(OTHER.sign(DATA)).decode()}')", "SIGNER_WRONG_KEY"),
    ],
)
def test_whatever_is_no_signature_by_the_listed_key_is_refused(tmp_path: Path, program: str, code: str) -> None:
    assert refused(python(tmp_path, program)) == code


def test_a_signature_over_another_text_is_refused(tmp_path: Path) -> None:
    assert refused(python(tmp_path, f"print('{GOOD}')"), data=DATA + b"!") == "SIGNER_WRONG_KEY"


@pytest.mark.parametrize(
    "program",
    [
        "import time; time.sleep(60)",
        "import os, time; os.close(1); time.sleep(60)",  # says that it is done, and is not
        # it ends, and leaves a child that keeps the output open
        "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(5)'])",
    ],
)
def test_a_command_that_does_not_end_is_given_up(tmp_path: Path, program: str) -> None:
    assert refused(python(tmp_path, program), seconds=0.5) == "SIGNER_TIMEOUT"


def test_a_command_that_is_not_there_or_is_no_command_is_refused(tmp_path: Path) -> None:
    assert refused(str(tmp_path / "nowhere")) == "SIGNER_MISSING"
    plain = tmp_path / "plain.txt"
    plain.write_text("text", "utf-8")
    assert refused(str(plain)) == "SIGNER_MISSING"
    for command in ("", "   ", "sign 'unclosed", "sign\0er"):
        assert refused(command) == "SIGNER_COMMAND"


def test_no_shell_reads_the_command(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    command = python(tmp_path, f"print('{GOOD}')") + f" ; touch {mark} && $(touch {mark}) | touch {mark}"
    CommandSigner.of(command, [KEY.public]).sign(DATA)  # all of that is one program's arguments
    assert not mark.exists()


def test_somebody_with_two_keys_or_none_does_not_sign_by_a_command() -> None:
    for keys in ([], [KEY.public, OTHER.public]):
        with pytest.raises(Refused) as caught:
            CommandSigner.of("sign", keys)
        assert caught.value.code == "SIGNER_KEY_UNKNOWN"
