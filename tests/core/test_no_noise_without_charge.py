"""No noise is drawn for a step that was not charged or that was sealed before, while its run is open.

That such a step is not sealed would be found later, by the ledger; by then noise of one stream could have been added to
two sums, whose difference shows none.
"""

from __future__ import annotations

from sekisho.core.site.folder import SiteFolder
from sekisho.privacy.mechanism.randomness import SecretStream

from .test_gate import desk_of, folder  # noqa: F401  # the fixture of a whole site


def test_a_step_that_was_not_started_draws_no_noise(folder: SiteFolder) -> None:  # noqa: F811
    desk, stream = desk_of(folder, started=False), SecretStream(bytes(32))
    with desk.refuses("STEP_NOT_STARTED"):
        desk.disclose(stream=stream)
    assert stream.bytes(64) == SecretStream(bytes(32)).bytes(64)


def test_a_step_that_was_sealed_draws_no_more_noise(folder: SiteFolder) -> None:  # noqa: F811
    desk, stream = desk_of(folder), SecretStream(bytes(32))
    desk.disclose()
    with desk.refuses("ALREADY_SEALED"):
        desk.disclose(stream=stream)
    assert stream.bytes(64) == SecretStream(bytes(32)).bytes(64)
