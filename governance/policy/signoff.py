"""What a person is shown before signing a policy, and the digests by which the signature is bound to it.

For: ``sekisho legal sign``, which shows it, and a site, which recomputes it before it counts a signature. Not for: the
words of single clauses (explain.py), what differs between two versions (compare.py), who signed (signing/approvals.py),
pages to read at leisure (evidence/).

    check_succession(policy, before)                    the version before is the one that this one replaces
    rendering(policy, "ja")                             what is shown; of a later version, its comparison as well
    shown(policy, before) -> Shown                      what is signed beside the file's own digests
    check_remembered(policy, remembered)                and what a site ran under is not taken back
    check_controller(policy, party)                     and it is the policy of the site at which it lies

Everything here is pure. The words come from the catalogues and the vocabularies, so they change with the software: who
signed other words is asked again, which is what RENDERER tells apart from a policy that was tampered with. A test holds
the digests of the example's renderings: whoever changes a word sees it fail, and raises RENDERER.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache

from ..canonical import digest_bytes
from ..errors import Refused
from ..language import Catalogue, Language
from ..quoting import one_line, quoted
from ..signing.approvals import Shown
from ..signing.members import Party
from ..vocabulary import label
from .compare import compare
from .explain import explanations
from .policy import Organisation, Policy

RENDERER = "sekisho-rendering/1"  # raised with every change of words, layout or comparison
INDENT = "   "


@cache
def _texts() -> Catalogue:
    return Catalogue.load(__name__.removesuffix(".policy.signoff"), "texts")


def rendering(policy: Policy, language: Language) -> str:
    """The whole policy in one language: who, what data, and clause by clause prose beside what the system will enforce.

    Whatever its authors wrote stands on one line of its own, so that no text can pose as what the system says.
    """
    return "\n".join((*_header(policy, language), *_provisions(policy, language))) + "\n"


def shown(policy: Policy, before: Policy | None) -> Shown:
    """The digests of everything that a signer of ``policy`` sees; ``before`` is the version that it replaces."""
    return Shown(
        renderer=RENDERER,
        en=digest_bytes(rendering(policy, "en").encode("utf-8")),
        ja=digest_bytes(rendering(policy, "ja").encode("utf-8")),
        comparison=None if before is None else compare(before, policy).digest,
    )


def check_succession(policy: Policy, before: Policy | None) -> None:
    """Return if ``before`` is the very file that ``policy`` says it replaces, and the version just below it.

    Raises:
        Refused: POLICY_FIRST_VERSION, POLICY_PREDECESSOR_MISSING, POLICY_PREDECESSOR_OTHER, POLICY_NAME_CHANGED,
            POLICY_VERSION_STEP.
    """
    named = policy.header.supersedes
    # 1. a first version replaces nothing
    if policy.version == 1:
        if named is not None:
            raise Refused(
                "POLICY_FIRST_VERSION",
                "the policy is version 1 and says that it supersedes another",
                "raise version by one, or take supersedes out",
            )
        return
    # 2. a later one names the file before it, and that file is here to be compared with
    if named is None or before is None:
        raise Refused(
            "POLICY_PREDECESSOR_MISSING",
            f"the policy is version {policy.version} and "
            + ("does not say which file it supersedes" if named is None else "the version before it is not here"),
            f"keep the file of the version before as earlier/{policy.version - 1}.yaml beside the policy, and write "
            "its digest under supersedes: (`sekisho legal amend` begins a version so)",
        )
    # 3. byte for byte
    if before.bytes_digest != named:
        raise Refused(
            "POLICY_PREDECESSOR_OTHER",
            f"the policy supersedes the file {named}; the version before that lies here is {before.bytes_digest}",
            "put the file back that was in force, as it was signed; a comparison with another would mislead",
        )
    # 4. of the same policy
    if (before.id, before.header.dataset.id) != (policy.id, policy.header.dataset.id):
        raise Refused(
            "POLICY_NAME_CHANGED",
            f"the version before is of the policy {before.id} about {before.header.dataset.id}; "
            f"this one is {policy.id} about {policy.header.dataset.id}",
            "keep id and dataset through all versions; another policy begins at version 1",
        )
    # 5. the one just below
    if before.version != policy.version - 1:
        raise Refused(
            "POLICY_VERSION_STEP",
            f"the policy is version {policy.version} and the one before it is version {before.version}",
            "count versions up by one",
        )


def check_controller(policy: Policy, site: Party) -> None:
    """Return if the policy's controller is the site, or the site's controller in the roster, in the site's country.

    Raises:
        Refused: POLICY_OF_ANOTHER.
    """
    named = policy.header.parties.controller
    if named.id not in (site.id, site.controller) or named.country != site.country:
        owner = site.id if site.controller == site.id else f"{site.id} (controller {site.controller})"
        raise Refused(
            "POLICY_OF_ANOTHER",
            f"the policy names the controller {named.id}, {named.country}; the roster has {owner}, {site.country}",
            "put the site's own policy there; id and country of parties.controller are those of the roster",
        )


def check_remembered(
    policy: Policy, remembered: tuple[int, str] | None, earlier: Callable[[Policy], Policy | None]
) -> None:
    """Return if ``policy`` is what was in force before (version, digest), or descends from it.

    ``earlier`` gives the version that a policy replaces, checked by ``check_succession``.

    Raises:
        Refused: POLICY_ROLLED_BACK, POLICY_EXCHANGED, POLICY_PREDECESSOR_OTHER; and whatever ``earlier`` raises.
    """
    if remembered is None:
        return
    version, digest = remembered
    # 1. nothing older: a later version was in force, whoever signed this one at its time
    if policy.version < version:
        raise Refused(
            "POLICY_ROLLED_BACK",
            f"the policy is version {policy.version}; this site has run under version {version}",
            "put the newer version back; to return to what an older one said, sign it as a new version",
        )
    # 2. the same version is the same file
    if policy.version == version and policy.bytes_digest != digest:
        raise Refused(
            "POLICY_EXCHANGED",
            f"this site has run under another file as version {version} of this policy ({digest})",
            "give the change a version of its own that supersedes that file; in a demo, `sekisho study reset-demo`",
        )
    # 3. a newer one descends from it, so that everybody who signed since saw what was changed
    while policy.version > version:
        older = earlier(policy)
        if older is None or (older.version == version and older.bytes_digest != digest):
            raise Refused(
                "POLICY_PREDECESSOR_OTHER",
                f"the policy does not descend from version {version}, under which this site has run ({digest})",
                "put that file into the folder of earlier versions, and have what was changed since signed again",
            )
        policy = older


def _header(policy: Policy, language: Language) -> Iterator[str]:
    header, dataset = policy.header, policy.header.dataset
    yield _say("policy.what", language, id=policy.id, version=str(policy.version), schema=header.schema_)
    if header.supersedes is None:
        yield _say("policy.first", language)
    else:
        yield _say("policy.supersedes", language, digest=header.supersedes)
    yield _say(f"policy.authoritative-{header.authoritative_language}", language)
    yield _party("controller", header.parties.controller, language)
    for processor in header.parties.processors:
        yield _party("processor", processor, language)
    if not header.parties.processors:
        yield _say("policy.no-processor", language)
    yield _say("policy.contact", language, contact=header.parties.contact)
    categories = _joined((_term("data_categories", one, language) for one in sorted(dataset.categories)), language)
    special = _texts()[f"clauses.words.{'yes' if dataset.special_category else 'no'}"][language]
    yield _say("policy.dataset", language, title=dataset.title[language], id=dataset.id, categories=categories,
               special=special)  # fmt: skip


def _party(kind: str, party: Organisation, language: Language) -> str:
    country = _term("countries", party.country, language)
    return _say(f"policy.{kind}", language, name=party.name[language], id=party.id, country=country)


def _provisions(policy: Policy, language: Language) -> Iterator[str]:
    grants = {provision.id for provision in policy.grants}
    for one in explanations(policy):
        enforced = "clauses.words.grant" if one.id in grants else "clauses.words.enforced"
        yield ""
        yield f"{one.id}. {one.name[language]}"
        yield from (INDENT + line for line in quoted(one.prose[language]))
        yield INDENT + one_line(_texts().render(enforced, language, text=one.enforced[language]))
        if one.recorded is not None:
            yield INDENT + one_line(_texts().render("clauses.words.recorded", language, text=one.recorded[language]))


def _term(kind: str, term: str, language: Language) -> str:
    return _texts().render("clauses.words.term", language, label=label(kind, term)[language], term=term)


def _joined(parts: Iterable[str], language: Language) -> str:
    return _texts()["clauses.words.separator"][language].join(parts)


def _say(key: str, language: Language, **values: str) -> str:
    return one_line(_texts().render(f"signoff.{key}", language, **values))
