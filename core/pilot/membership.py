"""Whether a released adapter gives its training customers away by their loss: one figure for the report, labelled weak.

For: ``membership_facts``, in a pilot whose data are public. Not for: private studies, whose records were not approved
for this use, nor for showing that a bound holds: only the certificate bounds what can be learned
(privacy/auditing/membership.py has the reasons).

Of each customer one review, so that what is told apart are people who have nothing to do with each other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...privacy.auditing.membership import losses
from ..data.dataset import TestSet
from ..site.publish import Published
from ..site.site import Site
from ..training.evaluation import auc_with_interval
from .federation import Federation
from .findings import MembershipFacts, NotTried

MOST_OF_A_SITE = 50  # customers: bounds of about ±0.04 with five sites, for a second or two where adapters are deep


def membership_facts(
    federation: Federation, published: Published, scores: NDArray[np.float64], test: TestSet
) -> MembershipFacts | NotTried:
    """AUC of "the loss is lower" between training customers of all sites and the test set, or why there is none.

    ``scores`` float64 [n] are the adapter's log odds of the test set.
    """
    if not federation.roster.demo:
        return NotTried.PRIVATE
    inside = [_losses_at(site, published.adapter.vector) for site in federation.sites.values()]
    known = np.concatenate([np.empty(0), *inside])
    if not known.size:
        return NotTried.DROPPED
    others = losses(scores, test.positive(federation.study.labels[1]))
    auc, low, high = auc_with_interval(-known, -others)
    return MembershipFacts(customers=known.size, others=others.size, auc=auc, auc_low=low, auc_high=high)


def _losses_at(site: Site, vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """One loss a customer, of at most ``MOST_OF_A_SITE``; none of a site that did not finish the run."""
    data, tools, state = site.data, site.tools, site.state
    if data is None or tools is None or state is None or not state.finished:
        return np.empty(0)
    loaded = [subject for subject in tools.admitted if subject in data.rows_of]
    if not loaded:
        return np.empty(0)
    step = -(-len(loaded) // MOST_OF_A_SITE)
    places = np.array([data.rows_of[subject][0] for subject in loaded[::step]], dtype=np.int64)
    found: NDArray[np.float64] = losses(data.task.scores(data.rows[places], vector), data.labels[places] > 0)
    return found
