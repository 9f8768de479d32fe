"""With which key a person signs: a key file under a passphrase, or a command that holds the key elsewhere.

For: every command by which people sign. Not for: passphrases (passphrases.py), or what a command may be
(governance/signing/signer_command.py).
"""

from __future__ import annotations

from pathlib import Path

from ...governance.signing.roster import Person
from ...governance.signing.signer import Signer
from ...governance.signing.signer_command import CommandSigner
from ..errors import BadInputError
from ..parties import key_path
from ..passphrases import unlock


def signer_of(
    study_folder: Path, person: Person, *, key_file: Path | None, passphrase_file: Path | None, command: str | None
) -> Signer:
    """The signer that was named, else the key file that was named, else ``keys/<pseudonym>.key`` of the study.

    Raises:
        BadInputError: SIGNER_AND_KEY. And the codes of ``CommandSigner.of`` and ``unlock``.
    """
    if command is not None:
        if key_file is not None or passphrase_file is not None:
            raise BadInputError("SIGNER_AND_KEY", "a signer and a key file were both named", "name one of them")
        return CommandSigner.of(command, person.keys)
    path = key_file if key_file is not None else key_path(study_folder, person.pseudonym, demo=person.demo)
    return unlock(path, person.pseudonym, passphrase_file=passphrase_file)
