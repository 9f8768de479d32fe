"""The commands of a site that hands an adapter over or has received one.

    sekisho site release SITE RUN            finish the release of a candidate, once people have approved it
    sekisho site use ADAPTER --site SITE     may this site use this adapter, now, for this; exit 3 where not

No torch: whoever gets a yes loads the weights elsewhere. ``use`` hashes the base model's weights each time.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import typer

from ...governance.language import Language
from ..data.intake import inspect, locate
from ..errors import BadInputError
from ..paperwork.release_summary import say, uses
from ..paperwork.words import term
from ..site.papers import read_study
from ..study import Study
from .console import DEFAULT_STUDY, Terminal, guarded

STUDY = typer.Option(DEFAULT_STUDY, "--study", help="Folder of the study.")
LANGUAGE = typer.Option("en", "--language", help="en or ja.")
JSON = typer.Option(False, "--json", help="Print one JSON object.")


@guarded(policy_is_refusal=True)
def release(
    site: str = typer.Argument(..., help="Id of the site that publishes."),
    run: str = typer.Argument(..., help="The run whose candidate lies in the site's state."),
    study: Path = STUDY,
    out: Path | None = typer.Option(None, "--out", help="Folder to write; else releases/<run> of the site's state."),
    language: Language = LANGUAGE,
    as_json: bool = JSON,
) -> None:
    """Release a candidate whose release.json has been approved: the gate decides anew, then it is handed over."""
    from ..site.folder import SiteFolder
    from ..site.releasing import finish
    from ..site.resuming import leave_to_agent

    terminal = Terminal(as_json=as_json)
    content = _known(study, site)
    if Path(run).name != run:
        raise BadInputError("RUN_UNKNOWN", "this is not the name of a run", "it is the name of the candidate's folder")
    facts = inspect(locate(content.base_model, study))
    owner = SiteFolder.open(study, site, base_model=facts, clock=_now, open_runs=leave_to_agent)
    try:
        folder = out if out is not None else owner.releases / run
        record = finish(owner, run, folder)
    finally:
        owner.close()
    terminal.say(
        say("released", language, site=site, run=run, parties=", ".join(record.parties), expires=record.expires,
            folder=folder)
    )  # fmt: skip
    terminal.result({"site": site, "run": run, "adapter": record.adapter, "release": record.digest, "out": str(folder)})


@guarded(policy_is_refusal=True)
def use(
    adapter: Path = typer.Argument(..., help="Folder of a released adapter."),
    site: str = typer.Option(..., "--site", help="Id of the site that wants to use it."),
    study: Path = STUDY,
    purpose: str = typer.Option("", "--use", help="What for: a term of downstream uses. Default: what is permitted."),
    language: Language = LANGUAGE,
    as_json: bool = JSON,
) -> None:
    """Whether this site may use this adapter now: signed, unchanged, for it, not expired, not revoked."""
    from ..site.use import use as judged

    terminal = Terminal(as_json=as_json)
    content = _known(study, site)
    facts = inspect(locate(content.base_model, study))
    record = judged(study, site, adapter, purpose=purpose, base_model=facts, clock=_now)
    permitted = ", ".join(term("downstream_uses", one, language) for one in record.permitted)
    terminal.say(say("used", language, site=site, expires=record.expires, uses=permitted))
    for line in uses(record, language)[len(record.permitted) :]:
        terminal.say(f"  {line}")
    terminal.result(
        {
            "site": site,
            "adapter": record.adapter,
            "release": record.digest,
            "expires": record.expires,
            "permitted": list(record.permitted),
            "use": purpose or None,
        }
    )


def _known(study: Path, site: str) -> Study:
    content = read_study(study)
    if site not in content.sites:
        raise BadInputError(
            "SITE_UNKNOWN", f"the study has no site '{site[:40]}'", hint=f"its sites are {', '.join(content.sites)}"
        )
    return content


def _now() -> datetime:
    return datetime.now(UTC)
