"""Who does what: the roles of a daemon, and the parts that several processes have in one.

smtp takes mail in, delivery distributes and delivers, web shows pages; all does everything.  Roles share nothing but
the database; on one folder nobody does another one's work (`locked`).  A role is one process, or several parts of it
under `supervisor`.
"""

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from listserv import files
from listserv.settings import Workers


class Role(StrEnum):
    ALL = "all"
    SMTP = "smtp"
    DELIVERY = "delivery"
    WEB = "web"


class Work(StrEnum):
    """What there is to do; `distribution` makes deliveries of posts and keeps the clock, `delivery` sends them."""

    SMTP = "smtp"
    WEB = "web"
    DISTRIBUTION = "distribution"
    DELIVERY = "delivery"


_WORKS = {
    Role.ALL: frozenset(Work),
    Role.SMTP: frozenset({Work.SMTP}),
    Role.DELIVERY: frozenset({Work.DISTRIBUTION, Work.DELIVERY}),
    Role.WEB: frozenset({Work.WEB}),
}


@dataclass(frozen=True, slots=True)
class Part:
    """What one of several processes does.

    slot      numbers those that deliver, from 1; 0 is the one for the rest
    receiver  numbers those that receive, from 1, the main process
    """

    works: frozenset[Work]
    slot: int = 0
    of: int = 1  # so many deliver
    receiver: int = 1

    @property
    def is_main(self) -> bool:
        """The one that there is only one of."""
        return self.slot == 0 and self.receiver == 1

    def lines(self, connections: int) -> int:
        """Its share of the connections to the relay."""
        if self.of == 1:
            return connections
        return max(1, connections // self.of + (self.slot <= connections % self.of))

    def __str__(self) -> str:
        if self.is_main:
            return "main process"
        return f"delivery process {self.slot}" if self.slot else f"receiving process {self.receiver}"


def parts(role: Role, workers: Workers) -> tuple[Part, ...]:
    """Who shares the work of a role when it is done by several processes; () when one does it all."""
    whole = _WORKS[role]
    deliver = workers.processes if Work.DELIVERY in whole and workers.processes > 1 else 0
    receive = workers.receivers if Work.SMTP in whole else 1
    if not deliver and receive == 1:
        return ()
    main = Part(whole - {Work.DELIVERY} if deliver else whole)
    receiving = (Part(frozenset({Work.SMTP}), receiver=number) for number in range(2, receive + 1))
    delivering = (Part(frozenset({Work.DELIVERY}), slot, deliver) for slot in range(1, deliver + 1))
    return (main, *receiving, *delivering)


def works(role: Role) -> frozenset[Work]:
    """What those who have this role do together."""
    return _WORKS[role]


class AlreadyRunning(Exception):
    """Another daemon of the same role works on the same folder."""


@contextmanager
def locked(data_dir: Path, role: Role) -> Iterator[None]:
    """Nobody else does the work of this role on this folder.

    One lock for each kind of work; the kernel lets go of them when the process and its children have ended, however
    they end.
    """
    with ExitStack() as held:
        for work in (Role.SMTP, Role.DELIVERY, Role.WEB) if role is Role.ALL else (role,):
            path = data_dir / f"daemon-{work}.lock"
            file = held.enter_context(path.open("w"))
            files.give_to_owner_of(data_dir, path)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AlreadyRunning(
                    f"another listserv daemon runs on {data_dir} (it does the work of role {work}); stop it first"
                ) from None
        yield
