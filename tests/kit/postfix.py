"""A real Postfix of our own, between the world and the list server, as `config/examples/postfix` sets it up.

    with postfix.running() as mta:
        async with house(url, folder, world=mta.world(), **mta.settings()) as here:
            await mta.swaks("ada@home.example", "walkers@lists.example", content)
            copies = await mta.arrived("bob@home.example")

It has its own configuration, queue and data in a temporary folder and free ports; the system's Postfix is not touched.
Addresses at home.example that are in `PEOPLE` have a Maildir, others there do not exist; mail for all other domains
goes to the story's world.
"""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.kit.components import needs_postfix, needs_swaks
from tests.kit.house import DOMAIN
from tests.kit.world import World

EXAMPLE = Path(__file__).parents[2] / "config" / "examples" / "postfix"
HOME = "home.example"
PEOPLE = ("ada", "bob", "cy", "ann")
NOBODY = 65534  # the Maildirs are his

# What an operator has already: who it is, where its files are, people with mailboxes, a filter of his own.  `far` is
# the rest of the world.  Loopback is no friend here, so that swaks is a stranger like any other client; and what waits
# is tried again at once, so that no story has to wait for the one before it.
_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.example
mydestination =
mynetworks = 192.0.2.0/24
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
local_recipient_maps =
recipient_delimiter = +
virtual_mailbox_domains = home.example
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = texthash:{folder}/people
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
header_checks = regexp:{folder}/checks
relayhost = [127.0.0.1]:{far}
smtp_host_lookup = native
minimal_backoff_time = 1s
maximal_backoff_time = 1s
queue_run_delay = 1s
"""
_MASTER = """\
127.0.0.1:{public} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
lmtp unix - - n - - lmtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True, slots=True)
class Postfix:
    """A running Postfix.  `public` is its port 25, `private` the port that only the list server may use."""

    program: Path
    client: Path
    folder: Path
    public: int
    private: int
    lmtp: int
    far: int

    def configure(self, lmtp: str = "") -> None:
        """Its own main.cf and master.cf, then the example's lines with our name, ports and `lmtp` in them."""
        here = {
            "lists.example.org": DOMAIN,
            "inet:127.0.0.1:8024": lmtp or f"inet:127.0.0.1:{self.lmtp}",
            "127.0.0.1:10025": f"127.0.0.1:{self.private}",
        }
        for name, own in (("main.cf", _MAIN), ("master.cf", _MASTER)):
            given = (EXAMPLE / name).read_text()
            for example, value in here.items():
                given = given.replace(example, value)
            own = own.format(folder=self.folder, public=self.public, far=self.far)
            (self.folder / "etc" / name).write_text(own + given)
        (self.folder / "checks").write_text("/^List-Post:/ REJECT no mailing lists here\n")
        people = (f"{person}@{HOME} {person}/" for person in PEOPLE)
        (self.folder / "people").write_text("\n".join(people) + "\n")

    def start(self) -> None:
        self._tool("postfix", "start")

    def stop(self) -> None:
        self._tool("postfix", "stop")

    async def reload(self) -> None:
        """What `configure` has written counts from now on; what was learnt about our addresses stays.

        As `postfix reload`, without its second of checks.
        """
        before = self.log().count("reload -- ")
        os.kill(int((self.folder / "queue/pid/master.pid").read_text()), signal.SIGHUP)
        await self.until(lambda: self.log().count("reload -- ") > before)

    def world(self) -> World:
        """The rest of the world, where this Postfix looks for it."""
        far = World()
        far.port = self.far
        return far

    def settings(self) -> dict[str, dict[str, Any]]:
        """The list server's side, as the example's README says it."""
        return {"lmtp": {"listen": [f"127.0.0.1:{self.lmtp}"]}, "relay": {"host": "127.0.0.1", "port": self.private}}

    async def swaks(self, mail_from: str, rcpt_to: str, content: bytes, port: int = 0) -> str:
        """The dialogue of swaks with the public port, or another one, as swaks prints it."""
        stuffed = (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:] + b"."
        (self.folder / "post.eml").write_bytes(stuffed)
        child = await asyncio.create_subprocess_exec(
            *(str(self.client), "--server", f"127.0.0.1:{port or self.public}", "--helo", "outside.example"),
            *("--from", mail_from or "<>", "--to", rcpt_to, "--timeout", "15"),
            *("--data", f"@{self.folder}/post.eml", "--no-data-fixup"),  # the bytes as they are
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        said, _ = await child.communicate()
        return said.decode()

    def inbox(self, address: str) -> list[bytes]:
        """What is in the Maildir, oldest first, with CRLF as on the wire."""
        maildir = self.folder / "mail" / address.partition("@")[0] / "new"
        files = sorted(maildir.glob("*"), key=lambda file: file.stat().st_mtime_ns)
        return [file.read_bytes().replace(b"\n", b"\r\n") for file in files]

    async def arrived(self, address: str, count: int = 1) -> list[bytes]:
        """The inbox, once it has so many messages."""
        await self.until(lambda: len(self.inbox(address)) >= count)
        return self.inbox(address)

    async def until(self, true: Callable[[], bool], seconds: float = 60.0) -> None:
        """Postfix works at its own pace; when it is too slow, its log says why.

        What was in hand when its queue manager looked through the queue waits for another look: it is told to.
        """
        loop = asyncio.get_running_loop()
        looks = loop.time() + 5
        try:
            async with asyncio.timeout(seconds):
                while not true():
                    if loop.time() > looks:
                        looks = loop.time() + 5
                        with contextlib.suppress(RuntimeError):  # its queue manager has not begun
                            await asyncio.to_thread(self._tool, "postkick", "public", "qmgr", "DF")
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(self.log()) from None

    def waiting(self) -> list[str]:
        """Names of the queue files: what Postfix has taken and not delivered."""
        queues = ("maildrop", "incoming", "active", "deferred", "hold")
        return [file.name for queue in queues for file in (self.folder / "queue" / queue).rglob("*") if file.is_file()]

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def empty(self) -> None:
        """No mail anywhere, for the next story."""
        self._tool("postsuper", "-d", "ALL")
        for person in PEOPLE:
            shutil.rmtree(self.folder / "mail" / person, ignore_errors=True)

    def parameter(self, name: str) -> str:
        """A value of main.cf as Postfix reads it."""
        return self._tool("postconf", "-xh", name).strip()

    def parameter_of(self, service: str, name: str) -> str:
        """A value of master.cf that overrides main.cf for one service."""
        return self._tool("postconf", "-Ph", f"{service}/{name}").strip()

    def _tool(self, name: str, *arguments: str) -> str:
        command = [str(self.program.with_name(name)), "-c", str(self.folder / "etc"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}{self.log()}")
        return done.stdout


@contextmanager
def running() -> Iterator[Postfix]:
    """From the configuration to the end of the folder; skips the test where it cannot run."""
    program, client = needs_postfix(), needs_swaks()
    if os.geteuid() != 0:
        pytest.skip("needs postfix, which is not installed for anybody but root")
    folder = Path(tempfile.mkdtemp(prefix="listserv-postfix-", dir="/tmp"))
    mta = Postfix(program, client, folder, *_free_ports(4))
    try:
        _folders(folder)
        mta.configure()
        mta.start()
        try:
            yield mta
        finally:
            mta.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _folders(folder: Path) -> None:
    """With the owners that Postfix insists on."""
    folder.chmod(0o755)
    for name in ("etc", "queue", "queue/listserv", "data", "mail"):
        (folder / name).mkdir()
    shutil.chown(folder / "data", "postfix")
    shutil.chown(folder / "mail", NOBODY)


def _free_ports(count: int) -> list[int]:
    """Below those that the kernel gives to anybody who asks, because not all of them are taken at once."""
    ports: list[int] = []
    for port in random.sample(range(10_000, 30_000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            ports.append(port)
        if len(ports) == count:
            return ports
    raise RuntimeError("no free ports")
