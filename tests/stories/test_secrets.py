"""Secrets stay secret, and the ordinary log names nobody, while everything goes wrong that can (RELIABILITY T41)."""

import asyncio
import base64
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy import select, text

from listserv.model.group import Role
from listserv.store import schema
from listserv.store.db import Tx
from tests.kit.house import mail, read
from tests.kit.patience import PATIENCE
from tests.kit.peer import Peer
from tests.kit.process import Process, process
from tests.kit.world import World

ADA, BOB, ANN = "ada.lovelace@a.example", "bob.nobody@b.example", "ann.owner@o.example"
WALKERS, SAILING = "walkers@lists.example", "sailing@lists.example"
DATABASE_PASSWORD, RELAY_PASSWORD = "canary-of-the-database", "canary-of-the-relay"
SUBJECT, BODY = "canary in the subject", "canary in the body"


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.05)


def execute(there: Process, statement: str) -> None:
    def work(tx: Tx) -> None:
        tx.execute(text(statement))

    there.work(work)


def written(secret: bytes) -> set[str]:
    """The ways in which it could stand somewhere."""
    base32 = base64.b32encode(secret).decode().rstrip("=")
    plain = {secret.hex(), base32, base32.lower(), base64.b64encode(secret).decode().rstrip("="), repr(secret)}
    return plain | ({secret.decode()} if secret.isascii() else set())


def secrets_of(there: Process) -> set[str]:
    """What nobody may read anywhere: passwords, what signs, what makes tags."""
    found = written(DATABASE_PASSWORD.encode()) | written(RELAY_PASSWORD.encode())
    for value in there.work(lambda tx: list(tx.execute(select(schema.secrets.c.value)).scalars())):
        found |= written(value)
    for key in (there.folder / "dkim").rglob("*.pem"):
        found |= {line for line in key.read_text().splitlines() if not line.startswith("-") and len(line) > 40}
    return found


def family(pid: int) -> Iterator[int]:
    """A process and those below it."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from family(int(child))


def shown(there: Process) -> str:
    """What every user of the machine, or its administrator, sees of our processes."""
    paths = [Path(f"/proc/{pid}/{name}") for pid in family(there.pid) for name in ("cmdline", "environ", "comm")]
    return "\n".join(path.read_bytes().decode("utf-8", "replace") for path in paths)


def access_log(there: Process) -> str:
    return "".join(path.read_text() for path in (there.folder / "log").glob("access-*.log"))


def sent(peer: Peer, field: bytes) -> list[bytes]:
    """What was sent that has this field."""
    return [message for message in peer.messages if b"\n" + field in message]


async def test_what_goes_wrong_is_told_without_secrets_and_names(url: str, folder: Path) -> None:
    # given a daemon whose every secret can be recognised, and whose next hop wants a password
    url = url.replace("postgres@", f"postgres:{DATABASE_PASSWORD}@")
    (folder / "word").write_text(RELAY_PASSWORD)
    (folder / "word").chmod(0o600)
    login, recipient = ["235 2.7.0 welcome"], ["250 ok"]
    async with World() as world, Peer({"AUTH": login, "RCPT": recipient}, offers=("PIPELINING", "AUTH PLAIN")) as peer:
        relay = {"port": peer.port, "username": "lists", "password_file": "word"}
        doors = {"listen": [f"unix:{folder}/http"]}
        async with process(url, folder, world, relay=relay, http=doors) as there:
            there.populate(WALKERS, names={ADA: Role.MEMBER, BOB: Role.MEMBER})
            there.populate(SAILING, names={ADA: Role.MEMBER, ANN: Role.OWNER}, moderated=True)

            async def post(to: str, author: str = ADA, said: str = BODY) -> str:
                return await there.post(author, to, mail(author, to, said, SUBJECT))

            # when a post goes its way, and one waits for an admin, who gets a token
            assert (await post(WALKERS)).startswith("250")
            assert (await post(SAILING)).startswith("250")
            await until(
                lambda: bool(sent(peer, b"Reply-To: sailing-confirm+") and sent(peer, b"List-Unsubscribe-Post:"))
            )
            notice, copy = (read(sent(peer, what)[0]) for what in (b"Reply-To: sailing", b"List-Unsubscribe-Post:"))
            reply_to = str(notice["Reply-To"])
            tags = re.findall(r"unsubscribe\+([a-z0-9._-]+)@|/leave/([^>\s]+)>", str(copy["List-Unsubscribe"]))
            hidden = {tag for pair in tags for tag in pair if tag} | {reply_to.partition("+")[2].partition("@")[0]}
            assert len(hidden) >= 2
            link = re.search(r"<https?://[^/]+(/[^>]+)>", str(copy["List-Unsubscribe"]))
            assert link

            # and then the database refuses what it is told, in words that name the row
            execute(there, f"CREATE UNIQUE INDEX canary_post ON posts (author) WHERE author <> '{ADA}'")
            assert (await post(WALKERS, BOB)).startswith("250")
            assert (await post(WALKERS, BOB, "again")).startswith("451")
            recipient[:] = [f"550 5.1.1 <{BOB}>: no such mailbox, {SUBJECT}"]
            execute(there, "CREATE UNIQUE INDEX canary_reply ON deliveries (reply) WHERE reply LIKE '550%'")
            assert (await post(WALKERS, ADA, "and again")).startswith("250")
            await until(lambda: "is recorded by itself" in there.stderr.read_text())
            execute(there, "DROP INDEX canary_reply")
            await there.until_done()

            # and who holds a token or a link comes while its table has gone
            execute(there, "ALTER TABLE tokens RENAME TO mislaid")
            assert (await post(reply_to, ANN, "approve")).startswith("451")
            execute(there, "ALTER TABLE mislaid RENAME TO tokens")
            execute(there, "ALTER TABLE subscriptions RENAME TO mislaid")
            for method in ("GET", "POST"):
                reader, writer = await asyncio.open_unix_connection(f"{folder}/http")
                said = (
                    f"{method} {link[1]} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
                writer.write(said.encode())
                assert await reader.read()
                writer.close()
            execute(there, "ALTER TABLE mislaid RENAME TO subscriptions")

            # and the wrong mail comes, to true and to forged addresses
            assert (await post(reply_to, ANN, "approve")).startswith("250")
            assert (await post(reply_to, ANN, "approve")).startswith("250")
            assert (await post(reply_to.replace("+", "+x", 1), ANN)).startswith(("250", "550"))
            client = await there.enter()
            for line in (
                f"MAIL FROM:<{ADA}> AUTH={RELAY_PASSWORD}",
                f"AUTH PLAIN {SUBJECT}",
                f"{BODY}\0",
                f"VRFY {BOB}",
            ):
                assert (await client.say(line))[:1] in "25"

            # and the next hop does not take the password, and repeats what it was told
            assert await there.stop() == 0
            echo = base64.b64encode(f"\0lists\0{RELAY_PASSWORD}".encode()).decode()
            login[:] = [f"535 5.7.8 what is AUTH PLAIN {echo}, with {RELAY_PASSWORD}?"]
            recipient[:] = ["250 ok"]
            await there.start()
            assert (await post(WALKERS, ADA, "once more")).startswith("250")
            await until(lambda: "the relay cannot be reached" in there.stderr.read_text())

            # and the operator mistypes his configuration
            good = there.config.read_text()
            broken = good.replace(
                f'url = "{there.url}"', f'url = "postgres://lists:{DATABASE_PASSWORD}@rest-of-it@h/db"'
            )
            there.config.write_text(broken)
            assert there.child is not None
            there.child.send_signal(1)
            await until(lambda: "not read anew" in there.stderr.read_text())
            command = [sys.executable, "-m", "listserv", "--config", str(there.config), "check", "--no-dns"]
            shell = subprocess.run(command, capture_output=True, text=True, check=False)

            # then it is all said, and nobody learns what is not his to know
            ordinary, log = there.stderr.read_text(), access_log(there)
            assert "Traceback" in ordinary
            assert "IntegrityError" in ordinary
            assert "post.accepted" in log
            places = {
                "ordinary log": ordinary,
                "access log": log,
                "processes": shown(there),
                "shell": shell.stdout + shell.stderr,
            }
            for place, content in places.items():
                for secret in secrets_of(there) | hidden | {link[1], echo}:
                    assert secret not in content, place
                for words in (SUBJECT, BODY, "@rest-of-it@"):
                    assert words not in content, place
            for name in (ADA, BOB, ANN):
                assert name not in ordinary
