"""A mistake that an engineer might make, as an edit of the product's own source, and the test that must find it.

For: the tables beside this file. Not for: applying an edit or running a test (``workbench.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Edit:
    """In ``file`` (from the root of the repository) the text ``right``, which stands there once, becomes ``wrong``."""

    file: str
    right: str
    wrong: str

    def applied(self, source: str) -> str:
        """``source`` with the mistake in it.

        Raises:
            ValueError: the text is not there exactly once, or nothing changes: the mutant would test nothing.
        """
        found = source.count(self.right)
        if found != 1:
            raise ValueError(f"{self.file}: {found} places hold {self.right!r}; a mutant needs exactly one")
        if self.wrong == self.right:
            raise ValueError(f"{self.file}: {self.right!r} becomes itself")
        return source.replace(self.right, self.wrong)


@dataclass(frozen=True)
class Mutant:
    """One mistake.

    Attributes:
        name: in the words of the issue, or of whoever finds it worth having.
        edits: all of the mistake; more than one where the product holds the promise in several places and only a
            consistent engineer gets it wrong.
        caught_by: tests, as pytest names them, each of which must fail.
        says: what must stand in every one of those failures, so that they fail for this reason and no other; one for
            all, or one for each of ``caught_by`` in order. The line that fails, not what any assertion says.
        stopped: the sentence with which the product itself refuses to go on before the test can look; empty where
            nothing stands before the test's own assertion.
    """

    name: str
    edits: tuple[Edit, ...]
    caught_by: tuple[str, ...]
    says: str | tuple[str, ...]
    stopped: str = ""

    def reasons(self) -> dict[str, str]:
        """Test -> what must stand in its failure."""
        each = (self.says,) * len(self.caught_by) if isinstance(self.says, str) else self.says
        return dict(zip(self.caught_by, each, strict=True))


def sources(root: Path, mutant: Mutant) -> dict[str, tuple[str, str]]:
    """File -> (its text, its text with the mutant's edits). Raises ``ValueError`` as ``Edit.applied`` does."""
    found: dict[str, tuple[str, str]] = {}
    for edit in mutant.edits:
        if edit.file not in found:
            text = (root / edit.file).read_text("utf-8")
            found[edit.file] = (text, text)
        text, changed = found[edit.file]
        found[edit.file] = (text, edit.applied(changed))
    return found
