"""Mailman 3 core: posts by LMTP, delivery straight to the sink, one message for each member (`individual`).

It is the `mailman` on PATH, with the Python beside it; SQLite, and settings that it comes with.  Members are loaded
once for each number of them, by its own functions.
"""

import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import usage
from tests.bench.case import Case
from tests.bench.crowd import DOMAIN, GROUP, OWNER, WARM, Crowd
from tests.bench.load import Door
from tests.bench.program import Failed, Running, call, free_port, nothing

STARTS = 60.0  # seconds
CONFIG = """\
[mailman]
layout: here
site_owner: {owner}
[paths.here]
var_dir: {folder}/var
[mta]
incoming: mailman.mta.null.NullMTA
outgoing: mailman.mta.deliver.deliver
smtp_host: 127.0.0.1
smtp_port: {sink}
lmtp_host: 127.0.0.1
lmtp_port: {lmtp}
verp_personalized_deliveries: yes
configuration: python:mailman.config.postfix
[webservice]
hostname: 127.0.0.1
port: {web}
"""
LOAD = """\
import sys
from mailman.core.initialize import initialize
initialize(sys.argv[1])
from mailman.app.lifecycle import create_list
from mailman.database.transaction import transaction
from mailman.interfaces.domain import IDomainManager
from mailman.interfaces.mailinglist import Personalization
from mailman.interfaces.usermanager import IUserManager
from mailman.utilities.datetime import now
from zope.component import getUtility
with transaction():
    getUtility(IDomainManager).add(sys.argv[2])
    users = getUtility(IUserManager)
    for group, file in zip(sys.argv[4::2], sys.argv[5::2]):
        members = create_list(group, [sys.argv[3]])
        members.send_welcome_message = False
        members.admin_notify_mchanges = False
        members.personalize = Personalization.individual
        for word in open(file).read().split():
            address = users.get_address(word) or users.create_address(word)
            address.verified_on = now()
            members.subscribe(address)
"""


@dataclass(frozen=True, slots=True)
class Mailman:
    folder: Path
    loaded: dict[int, Path] = field(default_factory=dict)  # members → the database

    @contextmanager
    def running(self, case: Case, folder: Path, sink: int) -> Iterator[Running]:
        lmtp = free_port()
        data = folder / "var" / "data"
        data.mkdir(parents=True)
        config = folder / "mailman.cfg"
        config.write_text(CONFIG.format(folder=folder, owner=OWNER, sink=sink, lmtp=lmtp, web=free_port()))
        if case.members not in self.loaded:
            _load(config, folder, case.members)
            self.loaded[case.members] = self.folder / f"mailman-{case.members}.db"
            shutil.copyfile(data / "mailman.db", self.loaded[case.members])
        shutil.copyfile(self.loaded[case.members], data / "mailman.db")
        account = usage.open_account("mailman")
        with ExitStack() as stack:
            stack.callback(account.close)
            call(account.command([*_mailman(config), "start", "-u"]))
            stack.callback(call, [*_mailman(config), "stop"])
            _wait_for(lmtp)
            yield Running(Door(lmtp, lmtp=True), account, nothing, nothing)


def missing() -> str:
    """Why it cannot be measured here, or nothing."""
    if shutil.which("mailman") is None:
        return "no mailman on PATH"
    return "" if usage.exact() else "Mailman needs a control group of its own"


def _mailman(config: Path) -> list[str]:
    program = shutil.which("mailman")
    assert program
    return [program, "--run-as-root", "-C", str(config)]


def _load(config: Path, folder: Path, members: int) -> None:
    words = [str(config), DOMAIN, OWNER]
    for group, people in ((GROUP, Crowd(members).members), (WARM, Crowd(1).members)):
        file = folder / group
        file.write_text("\n".join(people))
        words += [group, str(file)]
    script = folder / "load.py"
    script.write_text(LOAD)
    python = Path(_mailman(config)[0]).resolve().with_name("python")
    call([str(python), "-W", "ignore", str(script), *words])


def _wait_for(port: int) -> None:
    until = time.monotonic() + STARTS
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise Failed(f"Mailman takes no mail after {STARTS:g} s")
