"""A relay without FLARE, as a process of its own: both ends of flare/, joined by a function call.

    python small_relay.py COORDINATOR_SOCKET site=DOOR_SOCKET... [--lose N]

``--lose``: every N-th request's answer is lost on its way back, and every N-th request on its way there.
"""

import itertools
import sys
import time
from pathlib import Path

from sekisho.core.flare.server_end import ServerEnd
from sekisho.core.flare.site_end import SiteEnd


def main(words: list[str]) -> None:
    lose = 0
    if "--lose" in words:
        lose = int(words.pop(words.index("--lose") + 1))
        words.remove("--lose")
    server = ServerEnd(Path(words[0]))
    count = itertools.count(1)

    def asked(site: str, request: bytes) -> bytes | None:
        number = next(count)
        if lose and number % lose == 0:
            return None
        answer = server.answer(site, request)
        return None if lose and number % lose == lose // 2 else answer

    def line(site: str, path: str) -> SiteEnd:
        return SiteEnd(Path(path), lambda request, seconds: asked(site, bytes(request)))

    for word in words[1:]:
        site, _, path = word.partition("=")
        line(site, path)
    print("ready", flush=True)
    while not server.ended.is_set():
        time.sleep(0.05)


if __name__ == "__main__":
    main(sys.argv[1:])
