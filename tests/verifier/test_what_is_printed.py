"""What a bundle holds cannot speak in the verifier's voice: nobody at a terminal takes a forgery for verified."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sekisho.governance.canonical import canonical_bytes
from sekisho.governance.evidence import verifier

from ..governance import evidence_example as example
from .bundles import Made, made

VERIFIED = verifier.SENTENCES["verified"][1]
# Clears the terminal, begins a line, writes over one, scrolls all before it away, turns the direction of writing.
VOICES = (f"\x1b[2J\x1b[H{VERIFIED}", f"\n{VERIFIED}", f"\r{VERIFIED}", " " * 9000 + VERIFIED, f"\u202e{VERIFIED}",
          f"\x9b2J{VERIFIED}", f"\u2028{VERIFIED}", VERIFIED)


@pytest.fixture(scope="module")
def bundle() -> Made:
    return made()["whole"]


def printed(data: bytes, folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    path = folder / "evidence.zip"
    path.write_bytes(data)
    assert verifier.main([str(path), *more]) != 0
    told = capsys.readouterr()
    return told.out + told.err


def is_silent(out: str) -> bool:
    """Nothing but the verifier's own words, and no more of them than fit a screen or two."""
    plain = all(one.isprintable() or one == "\n" for one in out)
    return plain and VERIFIED not in out and "  " not in out.replace("\n  ", "\n") and len(out) < 20_000


@pytest.mark.parametrize("voice", VOICES, ids=range(len(VOICES)))
def test_a_member_that_the_manifest_lists_cannot_say_that_all_is_verified(
    bundle: Made, voice: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    members = verifier.read_container(bundle.sealed())
    manifest = json.loads(members["manifest.json"])
    manifest["members"][voice] = "sha256:" + "0" * 64
    members["manifest.json"] = canonical_bytes(manifest)
    assert is_silent(printed(verifier.write_container(members), tmp_path, capsys))


@pytest.mark.parametrize("voice", VOICES, ids=range(len(VOICES)))
def test_a_party_of_a_forged_roster_cannot_say_so_by_its_name(voice: str) -> None:
    roster = example.roster_yaml().decode()
    quoted = json.dumps(voice)
    for name in (example.SITES[0], "counsel-1"):
        for form in (f"id: {name}", f"pseudonym: {name}"):
            if form in roster:
                forged = roster.replace(form, form.replace(name, quoted), 1)
                with pytest.raises((*verifier.MALFORMED, verifier.Found)):
                    verifier.read_roster(forged.encode())


def test_the_words_of_a_finding_are_made_plain(tmp_path: Path) -> None:
    for voice in VOICES:
        assert is_silent(verifier.plain_line(f"the signatures on {voice[:-1]} are not in the bundle"))
