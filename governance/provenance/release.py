"""Whether an adapter may leave the federation: the conditions that its release depends on, each with its outcome.

What it is for: one value that lists every condition with what was found, refuses while one that is required is failed
or unchecked, and says in its own record what was not checked. What it is NOT for: checking (voting, exposure, licences
are other files), signing, or revocation; those come with the release issue.

Order of calls: `ReleaseRecord(...)` -> `record.check()` -> `record.digest` into the log and the release notice.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..canonical import digest
from ..errors import Refused


class Condition(BaseModel):
    """One condition of the grant; ``name`` is a term of the policy's release clause."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,49}$")]
    required: bool
    outcome: Literal["passed", "failed", "not-checked"]


class ReleaseRecord(BaseModel):
    """One adapter, whom it goes to, and under which conditions."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    adapter: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    provenance: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    grant: Annotated[str, Field(min_length=1, max_length=40)]
    recipients: tuple[str, ...]
    licence: Annotated[str, Field(min_length=1, max_length=200)]
    conditions: tuple[Condition, ...]

    def check(self) -> None:
        """Return if every required condition passed and no condition failed.

        Raises:
            Refused: RELEASE_NO_CONDITION, RELEASE_CONDITION_TWICE, RELEASE_CONDITION_FAILED,
                RELEASE_CONDITION_UNCHECKED, RELEASE_NO_RECIPIENT.
        """
        names = [condition.name for condition in self.conditions]
        # 1. An empty list is a missing list.
        if not any(condition.required for condition in self.conditions):
            raise Refused("RELEASE_NO_CONDITION", "a release names no required condition",
                          "list the conditions of the grant")
        # 2. One outcome for each condition.
        if len(set(names)) != len(names):
            raise Refused("RELEASE_CONDITION_TWICE", "a release condition has two outcomes", "keep the later check")
        # 3. Nothing failed, required or not.
        failed = [condition.name for condition in self.conditions if condition.outcome == "failed"]
        if failed:
            raise Refused("RELEASE_CONDITION_FAILED", f"a release condition failed: {', '.join(failed)}",
                          "the adapter stays inside the federation")
        # 4. What is required was checked.
        unchecked = [condition.name for condition in self.conditions
                     if condition.required and condition.outcome != "passed"]
        if unchecked:
            raise Refused("RELEASE_CONDITION_UNCHECKED", f"a release condition was not checked: {', '.join(unchecked)}",
                          "run the check, or have the policy's owner drop it")
        # 5. Somebody receives it.
        if not self.recipients:
            raise Refused("RELEASE_NO_RECIPIENT", "a release names no recipient", "name the recipients of the grant")

    @property
    def digest(self) -> str:
        """Of the record's RFC 8785 form."""
        return digest(self.model_dump(mode="json"))
