"""What an example measured beforehand on its public data, for the report to stand beside a run: strict frozen values.

A file ``baselines.json`` beside study.yaml is optional; the script that writes it stands with the example and is out of
reach from here. Its figures are shown only where they were measured for this very study on this very test set: others
would compare what cannot be compared.

Not here: measuring anything, or deciding by it. No baseline speaks for or against go.

Order of calls: ``read_baselines`` at preflight, before anything is charged -> ``SummaryInput.baselines``.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ...governance.language import Text
from ..errors import BadInputError
from ..study import Study

FILE = "baselines.json"
LARGEST = 1 << 20  # bytes; a table of fifty rows is under 20 kB
MOST_ROWS = 50
MOST_SERIES = 4    # lines that can be told apart without colour
HINT = "write it again with the example's own script, or remove it: the report then omits the comparison"

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=10**7, allow_inf_nan=False)]


class Strict(BaseModel):
    """Strict, closed, frozen."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class BaselineRow(Strict):
    """One way of training that was tried beforehand: the median of ``seeds`` runs; no epsilon means no privacy."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    name: Text
    epsilon: Annotated[Decimal, Field(gt=0, le=1000)] | None
    seeds: Annotated[int, Field(ge=1, le=1000)]
    auc: Share
    auc_low: Share
    auc_high: Share
    accuracy: Share
    note: Text | None

    @model_validator(mode="after")
    def _bounds_enclose(self) -> Self:
        if not self.auc_low <= self.auc <= self.auc_high:
            raise ValueError("a baseline lies outside its own bounds")
        return self


class Point(Strict):
    """What a method reached with a share of the data, and how long it trained."""

    share: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    auc: Share
    seconds: Seconds


class CurveSeries(Strict):
    """One method over rising shares of the data; ``foundation`` says whether it stands on the foundation model."""

    name: Text
    foundation: bool
    points: Annotated[tuple[Point, ...], Field(min_length=2, max_length=20)]

    @model_validator(mode="after")
    def _shares_rise(self) -> Self:
        shares = [point.share for point in self.points]
        if shares != sorted(set(shares)):
            raise ValueError("a curve's shares do not rise")
        return self


class Curve(Strict):
    """AUC over the share of the data that was used; the settings say how it was measured."""

    series: Annotated[tuple[CurveSeries, ...], Field(min_length=1, max_length=MOST_SERIES)]


class Baselines(Strict):
    """A whole baselines.json. ``settings`` are what produced the figures, in words."""

    schema_: Annotated[Literal["sekisho-baselines/1"], Field(alias="schema")]
    study: str
    test_set: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    settings: Annotated[tuple[Text, ...], Field(max_length=20)]
    rows: Annotated[tuple[BaselineRow, ...], Field(max_length=MOST_ROWS)]
    curve: Curve


def read_baselines(study_folder: Path, study: Study) -> Baselines | None:
    """The figures beside ``study``; None where there are none.

    Raises:
        BadInputError: BASELINES_UNREADABLE, BASELINES_MALFORMED, STALE_BASELINES.
    """
    path = study_folder / FILE
    # 1. nothing there: the report omits the section
    if not path.exists():
        return None
    # 2. a file of a size that such figures have
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise BadInputError(
            "BASELINES_UNREADABLE", f"{FILE} cannot be read ({error.strerror}); nothing was charged", HINT
        ) from None
    # 3. the closed form
    try:
        if len(data) > LARGEST:
            raise ValueError
        found = Baselines.model_validate_json(data)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"][:4]) or "its beginning"
        raise BadInputError(
            "BASELINES_MALFORMED", f"{FILE} is not of the form that the report shows, at '{where}'", HINT
        ) from None
    except ValueError:
        raise BadInputError("BASELINES_MALFORMED", f"{FILE} is larger than such figures can be", HINT) from None
    # 4. of this study, on this test set
    if (found.study, found.test_set) != (study.id, study.test_set.digest):
        raise BadInputError(
            "STALE_BASELINES",
            f"{FILE} was measured for another study or on another test set than study.yaml names; nothing was charged",
            HINT,
        )
    return found
