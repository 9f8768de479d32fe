"""Room for the open files of every site in this process.

For: a federation that is opened in one process, before its first site is. Not for: a site in a process of its own,
which needs no more than any program is given.

Each site keeps five databases open (log, ledger, consents, reach, witness), three files each, and a lock: eighteen. The
usual limit of 1,024 is spent by 56 sites, and the next would fail in the middle, as a disk that is full would.
"""

from __future__ import annotations

from ..errors import BadInputError

A_SITE = 20  # open files; eighteen, and two that come and go
BESIDE = 200  # of the interpreter, its libraries, the coordinator and worker processes


def make_room(sites: int) -> None:
    """Raise this process's own limit of open files as far as ``sites`` need it, within what the system allows.

    Raises:
        BadInputError: HANDLES_TOO_FEW, before anything was opened.
    """
    try:
        import resource
    except ImportError:  # a system without such limits
        return
    needed = BESIDE + A_SITE * sites
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise BadInputError(
            "HANDLES_TOO_FEW",
            f"{sites} sites in one process need {needed} open files, and this system allows a process {hard}",
            hint="raise the hard limit (ulimit -Hn, LimitNOFILE), or give sites processes of their own",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
