"""The messages before the first step: everybody joins, and the sites agree on keys that the coordinator never has.

For: the four messages of the agreement, all sites or none. Not for: steps (coordinator.py); going on in another
process: nothing was charged yet, so a run that was cut off here is stopped by name, and another begins.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import Refused
from ..messages import Body, Cohort, Join, Kem, Kems, Keyed, Offer, Secret, Secrets, SignedMessage
from .collecting import Collector
from .witnessing import CoordinatorWatch


def agree_on_keys(collector: Collector, watch: CoordinatorWatch, run: str, offer: Offer) -> None:
    """From the offer to keys. Raises ``Refused`` SITE_MISSING, or as a site declines."""
    sites = offer.sites

    def ask(body: Body, expected: type[Body], parts: Mapping[str, bytes] | None = None) -> dict[str, SignedMessage]:
        gathered = collector.gather(run, sites, body, expected, parts=parts)
        if gathered.missing:
            raise Refused(
                "SITE_MISSING",
                f"{', '.join(gathered.missing)} did not answer the {body.kind} message; all sites start or none",
                hint="the site's own log says why; nothing was sent that is computed from data",
            )
        return gathered.messages

    watch.record("study.offered", {"study": offer.study_bytes}, {"sites": len(sites)})
    # the run starts with every site of the study or not at all: nobody is left out silently
    joins = ask(offer, Join)
    for site in sites:
        watch.record("run.joined", {"message": joins[site].digest, "site": site}, {})
    kems = ask(Cohort(sites=sites), Kem, whole("join", joins))
    secrets = ask(Kems(sites=sites), Secret, whole("kem", kems))
    lowest = min(sites)
    ask(Secrets(sites=(lowest,)), Keyed, whole("secret", {lowest: secrets[lowest]}))


def whole(name: str, messages: Mapping[str, SignedMessage]) -> dict[str, bytes]:
    """Sites' messages as parts of the coordinator's, each as it was signed."""
    return {f"{name}:{site}": message.to_bytes() for site, message in messages.items()}
