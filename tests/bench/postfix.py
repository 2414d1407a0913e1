"""Postfix alone: the group is an alias for a file of addresses, and everything goes to one relay, the sink.

It adds no List-* fields, no return path of its own and no signature: it is the floor.  Settings are those it comes
with, but for ports, folders and what the style says:

    single     one recipient in a transaction
    by fifty   its default: up to 50
    hold       what comes for the group is accepted and waits: intake

It has its own configuration and queue in the folder of the run; the system's Postfix is not touched.  Needs root.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.bench import usage
from tests.bench.case import Case
from tests.bench.crowd import DOMAIN, GROUP, WARM, Crowd
from tests.bench.load import Door
from tests.bench.program import Running, call, free_port, nothing

MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
mail_owner = postfix
setgid_group = postdrop
myhostname = {domain}
mydestination = {domain}
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
local_recipient_maps =
relayhost = [127.0.0.1]:{sink}
smtp_dns_support_level = disabled
alias_maps = texthash:{folder}/etc/aliases
"""
STYLES = {
    "single": "default_destination_recipient_limit = 1\n",
    "by fifty": "",
    "hold": (
        "smtpd_recipient_restrictions = check_recipient_access inline:{{{group}=HOLD}}, permit_mynetworks, reject\n"
    ),
}
MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
local unix - n n - - local
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"


@dataclass(frozen=True, slots=True)
class Postfix:
    @contextmanager
    def running(self, case: Case, folder: Path, sink: int) -> Iterator[Running]:
        aliases = []
        for group, people in ((GROUP, Crowd(case.members).members), (WARM, Crowd(1).members)):
            name = group.partition("@")[0]
            (folder / name).write_text("".join(f"{each}\n" for each in people))
            aliases += [f"{name} :include:{folder}/{name}", f"owner-{name} nobody@{DOMAIN}"]
        with serving(folder, sink, STYLES[case.style].format(group=GROUP), "", aliases) as running:
            yield running


def missing() -> str:
    """Why it cannot be measured here, or nothing."""
    if shutil.which("postfix", path=PATH) is None:
        return "Postfix is not installed"
    return "" if os.geteuid() == 0 and usage.exact() else "Postfix needs root, and a control group of its own"


@contextmanager
def serving(folder: Path, sink: int, main: str, master: str, aliases: list[str]) -> Iterator[Running]:
    """From its start to its end, with these lines more in its files."""
    port = free_port()
    for name in ("etc", "queue", "data"):
        (folder / name).mkdir()
    shutil.chown(folder / "data", "postfix")
    (folder / "etc" / "main.cf").write_text(MAIN.format(folder=folder, sink=sink, domain=DOMAIN) + main)
    (folder / "etc" / "master.cf").write_text(MASTER.format(port=port) + master)
    (folder / "etc" / "aliases").write_text("".join(f"{line}\n" for line in aliases))
    account = usage.open_account("postfix")
    with ExitStack() as stack:
        stack.callback(account.close)
        call(account.command(_tool("postfix", folder, "start")))
        stack.callback(call, _tool("postfix", folder, "stop"))
        yield Running(Door(port), account, nothing, partial(_release, folder))


def _release(folder: Path) -> None:
    call(_tool("postsuper", folder, "-H", "ALL"))
    call(_tool("postfix", folder, "flush"))


def _tool(name: str, folder: Path, *arguments: str) -> list[str]:
    program = shutil.which(name, path=PATH)
    assert program
    return [program, "-c", str(folder / "etc"), *arguments]
