"""`scripts/run --demo`: a whole site in a throw-away folder, with people in it and their mailbox instead of a relay.

It prints commands to try, and each delivery as it arrives.  Everything goes the way of real mail: the commands send by
SMTP, the server judges, holds, renders and signs, and delivers by SMTP to the mailbox.  Ctrl-C leaves nothing behind.

Python and this package are all it needs; the commands are run by the same Python, by its absolute path.
"""

import asyncio
import logging
import os
import shlex
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

from listserv import process
from listserv.cli.running import log_to_stderr
from listserv.daemon import Daemon, serve
from listserv.mail import message, words
from listserv.mail.message import Message
from listserv.model.address import parse
from listserv.model.group import Kind, Mode, Policy
from listserv.model.group import Role as MemberRole
from listserv.node import Node
from listserv.roles import Role
from listserv.settings import Settings
from listserv.store import accounts, groups
from listserv.store.db import Tx

DOMAIN = "lists.example.org"
OPEN, MODERATED = f"sailing@{DOMAIN}", f"harbour@{DOMAIN}"
ADMIN = ("Ruth Harbour", "ruth@example.net")
MEMBERS = (("Ada", "ada@example.net"), ("Bob", "bob@example.com"), ("Cy", "cy@example.org"))
ENDINGS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}

CONFIGURATION = """\
[site]
name = "Demo"
hostname = "{domain}"
domains = ["{domain}"]
url = "http://127.0.0.1:{http}"
[smtp]
listen = ["127.0.0.1:{smtp}"]
authenticate = false  # its people are made up
[http]
listen = ["127.0.0.1:{http}"]
[relay]
host = "127.0.0.1"
port = {mailbox}
tls = "none"
"""

# What the commands run.  Needs nothing but Python: it is given the path of one file, a message without Date and ID.
SEND = """\
import email, email.policy, email.utils, smtplib, sys

message = email.message_from_bytes(open(sys.argv[1], "rb").read(), policy=email.policy.SMTP)
message["Date"] = email.utils.localtime()
message["Message-ID"] = email.utils.make_msgid(domain="example.net")
sender = message["From"].addresses[0].addr_spec
recipient = message["To"].addresses[0].addr_spec
with smtplib.SMTP("127.0.0.1", {smtp}) as server:
    server.ehlo("demo.example.net")
    replies = [server.mail(sender), server.rcpt(recipient)]
    if replies[-1][0] < 300:
        replies.append(server.data(bytes(message)))
print(replies[-1][0], replies[-1][1].decode())
sys.exit(replies[-1][0] >= 300)
"""


@dataclass(frozen=True, slots=True)
class Demo:
    """The folder and the commands that work in it."""

    folder: Path
    settings: Settings

    def letter(self, name: str, author: tuple[str, str], to: str, subject: str, text: str, more: str = "") -> str:
        """The command that sends this message from a file of that name."""
        path = self.folder / f"{name}.eml"
        head = f"From: {author[0]} <{author[1]}>\nTo: {to}\nSubject: {subject}\n{more}"
        path.write_text(f"{head}MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\n{text}\n", "utf-8")
        return shlex.join([sys.executable, str(self.folder / "send.py"), str(path)])

    def listserv(self, *arguments: str) -> str:
        """The command of the operator."""
        program = Path(sys.executable).with_name("listserv")
        return shlex.join([str(program), "--config", str(self.folder / "listserv.toml"), *arguments])


class Mailbox:
    """Everybody's mailbox in one: says what arrives, and how the admin can answer.  An aiosmtpd handler."""

    def __init__(self, demo: Demo) -> None:
        self._demo = demo
        self._notices = 0

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        raw = envelope.content if isinstance(envelope.content, bytes) else b""
        parsed = message.parse(raw)
        for recipient in envelope.rcpt_tos:
            say(f"delivered to {words.clean(recipient)}: {words.clean(message.subject(parsed))}")
            self._help(recipient, parsed)
        return "250 2.0.0 taken"

    def _help(self, recipient: str, parsed: Message) -> None:
        """A notice that asks the admin comes with the command that approves: a reply by mail, as he would write it."""
        asks = parsed.first("reply-to")
        kind = parsed.first("content-type")
        if recipient != ADMIN[1] or asks is None or kind is None or not kind.value.startswith(b"multipart/mixed"):
            return
        self._notices += 1
        id = message.message_id(parsed)
        to = words.text(asks.value).strip("<>")
        more = f"In-Reply-To: {id}\nReferences: {id}\n"
        command = self._demo.letter(
            f"approve-{self._notices}", ADMIN, to, f"Re: {words.clean(message.subject(parsed))}", "approve", more
        )
        say("", "The admin approves by replying with one word; this sends that reply:", f"$ {command}", "")


def say(*lines: str) -> None:
    print(*lines, sep="\n", flush=True)


def main() -> int:
    """Until Ctrl-C, SIGTERM or the end of the terminal; then nothing is left."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)  # heard when the daemon listens to them
    log_to_stderr()
    logging.getLogger("listserv").setLevel(logging.WARNING)
    with _folder() as folder:
        demo = _set_up(folder)
        node = Node.open(demo.settings)
        try:
            node.db.write_now(_people, node)
            process.run(_run(demo, node))
        finally:
            node.close()
    say("", "The demo is over; its folder is gone.")
    return 0


async def _run(demo: Demo, node: Node) -> None:
    loop = asyncio.get_running_loop()
    mailbox = await loop.create_server(
        lambda: SMTP(Mailbox(demo), hostname="mailbox.example.net", enable_SMTPUTF8=True, loop=loop),
        demo.settings.relay.host,
        demo.settings.relay.port,
    )

    def ready(daemon: Daemon) -> None:
        loop.add_signal_handler(signal.SIGHUP, os.kill, os.getpid(), signal.SIGTERM)  # the terminal has gone
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDINGS)
        _welcome(demo)

    try:
        await serve(node, Role.ALL, lambda: None, ready)
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
        mailbox.close()


def _welcome(demo: Demo) -> None:
    post = demo.letter("hello", MEMBERS[0], OPEN, "Shall we sail on Sunday?", "The wind is fair.\n\nAda")
    held = demo.letter("harbour", MEMBERS[1], MODERATED, "The crane is broken", "Who can help on Monday?\n\nBob")
    say(
        "",
        f"A mailing-list server runs in {demo.folder}, until Ctrl-C.",
        f"{', '.join(address for _, address in MEMBERS)} are members of {OPEN} and of {MODERATED};",
        f"{ADMIN[1]} is the admin of both.  What arrives in anybody's mailbox is shown here.",
        "",
        "Try these commands in another terminal.  Ada posts, and it reaches all three:",
        f"$ {post}",
        "",
        "Bob posts to the moderated group, and the admin is asked:",
        f"$ {held}",
        "",
        "What the operator sees:",
        f"$ {demo.listserv('hold', 'list')}",
        f"$ {demo.listserv('queue', 'status')}",
        "",
    )


def _set_up(folder: Path) -> Demo:
    smtp, http, mailbox = _free_ports(3)
    path = folder / "listserv.toml"
    path.write_text(CONFIGURATION.format(domain=DOMAIN, smtp=smtp, http=http, mailbox=mailbox), "utf-8")
    (folder / "send.py").write_text(SEND.format(smtp=smtp), "utf-8")
    return Demo(folder, Settings.load(path, {}))


def _people(tx: Tx, node: Node) -> None:
    now = node.clock()
    for address, title, moderated in ((OPEN, "Sailing", False), (MODERATED, "Harbour", True)):
        group = groups.add(tx, address, Kind.DISCUSSION, Policy(title=title, moderated=moderated), now)
        for name, person in (ADMIN, *MEMBERS):
            known = parse(person)
            assert known is not None
            mailbox = accounts.ensure(tx, known, now, name, proven=True)
            is_admin = person == ADMIN[1]
            role, mode = (MemberRole.OWNER, Mode.NONE) if is_admin else (MemberRole.MEMBER, Mode.EACH)
            accounts.subscribe(tx, group.id, mailbox.id, now, "demo", role=role, mode=mode)


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="listserv-demo-")).resolve()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_ports(number: int) -> list[int]:
    """All looked for at once, so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [int(bound.getsockname()[1]) for bound in sockets]
    for bound in sockets:
        bound.close()
    return ports


if __name__ == "__main__":
    sys.exit(main())
