"""Bombs, junk and exhaustion against a listener in a process of its own, measured from outside."""

import asyncio
import contextlib
import os
import random
import re
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.net.listening import Client, doors

SERVER = """
import asyncio, logging, sys
sys.path.insert(0, {root!r})
from tests.net.listening import Ledger, doors

class Forgetful(Ledger):
    async def accept(self, envelope, content):
        answers = await super().accept(envelope, content)
        self.messages.clear()
        return answers

async def main():
    async with doors(Forgetful(), **{limits!r}) as here:
        print(here.listener.bound[0][1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main())
"""
ROOT = str(Path(__file__).parent.parent.parent)


@dataclass
class Process:
    pid: int
    port: int
    clients: list[Client] = field(default_factory=list)

    async def connect(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self.clients.append(client)
        return client

    async def enter(self) -> Client:
        client = await self.connect()
        assert (await client.reply()).startswith("220 ")
        return client

    async def leave(self) -> None:
        """All clients go."""
        for client in self.clients:
            client.close()
            with contextlib.suppress(ConnectionError):
                await client.writer.wait_closed()
        self.clients.clear()

    def resident(self, which: str = "VmHWM") -> float:
        """Megabytes of memory: the peak so far, or VmRSS."""
        found = re.search(rf"{which}:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text())
        assert found
        return int(found[1]) / 1024


@contextlib.asynccontextmanager
async def process(descriptors: int = 1024, **limits: object) -> AsyncIterator[Process]:
    """A listener in a process that may have so many file descriptors; it ends when its standard input does."""
    code = SERVER.format(root=ROOT, limits=limits)
    child = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", f'ulimit -n {descriptors}; exec "$0" -c "$1"', sys.executable, code,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert child.stdin
    assert child.stdout
    try:
        here = Process(child.pid, int(await asyncio.wait_for(child.stdout.readline(), 20)))
        yield here
        await here.leave()
    finally:
        child.stdin.close()
        await asyncio.wait_for(child.wait(), 20)


async def noops(client: Client, bomb: asyncio.Task[str]) -> list[float]:
    """Seconds that each NOOP of somebody else took while the bomb was thrown, in rising order."""
    took = []
    while not bomb.done():
        began = time.monotonic()
        assert await client.say("NOOP") == "250 2.0.0 OK"
        took.append(time.monotonic() - began)
        await asyncio.sleep(0.005)
    return sorted(took)


@pytest.mark.parametrize(
    ("block", "blocks", "answer"),
    [
        (b"x\r\n" * 20_000, 350, "552"),  # 21 MB of lines of one octet
        (b"x\r\n" * 20_000, 160, "250"),  # the same within the limit of size
        (b"x" * 60_000, 1000, "552"),  # 60 MB without an end of line
        (b"X: y\r\n" * 10_000, 50, "552"),  # 500,000 fields
        (b"." * 60_000 + b"\r\n.", 160, "250"),  # dots to un-stuff
    ],
)
async def test_bombs_cost_little_memory_and_nobody_elses_time(block, blocks, answer):
    async with process(max_idle_commands=10**9) as here:
        bomber, bystander = await here.enter(), await here.enter()
        before = here.resident()

        async def throw() -> str:
            await bomber.begin()
            await bomber.write(b"X: y\r\n" if block.startswith(b"X") else b"Subject: x\r\n\r\n")
            for _ in range(blocks):
                await bomber.write(block)
            await bomber.write(b"\r\n.\r\n")
            return await bomber.reply()

        bomb = asyncio.create_task(throw())
        took = await noops(bystander, bomb)
        assert bomb.result()[:3] == answer
        assert here.resident() - before < 32
        assert took[len(took) // 2] < 0.1  # promised for all of them, on a machine that does nothing else


async def test_fifty_uploads_at_once_stay_within_the_memory():
    async with process() as here:
        clients = [await here.enter() for _ in range(50)]
        before = here.resident()
        message = b"Subject: x\r\n\r\n" + b"line of text\r\n" * 200_000
        replies = await asyncio.gather(*(client.send(message) for client in clients))
        assert {reply[:3] for reply in replies} == {"250"}
        assert here.resident() - before < 40  # of 140 MB of messages


async def test_the_listener_survives_a_flood_with_few_descriptors():
    async with process(descriptors=100) as here:
        flood = await asyncio.gather(*(here.connect() for _ in range(400)))
        welcome = [client for client in flood if (await client.reply()).startswith("220 ")]
        assert len(welcome) == 18  # (100 − 64 spare) / 2
        assert (await welcome[0].send(b"x: y\r\n\r\n" + b"x" * 1_000_000 + b"\r\n")).startswith("250 ")
        await here.leave()
        client = await here.connect()
        while not (await client.reply()).startswith("220 "):
            client = await here.connect()
        assert await client.say("NOOP") == "250 2.0.0 OK"
        assert len(os.listdir(f"/proc/{here.pid}/fd")) < 60  # noqa: PTH208


WORDS = [
    b"MAIL FROM:", b"RCPT TO:", b"DATA", b"EHLO ", b"<>", b"<a@lists.example>", b"<fault@lists.example>", b" SIZE=",
    b"9" * 30, b"\xff\xfe", b"\xc3\xbc", b"\0", b"\r\n", b"\n", b"\r", b".", b"\r\n.\r\n", b"BODY=", b" SMTPUTF8",
    b"RSET", b"VRFY ", b"STARTTLS", b"AUTH PLAIN ", b"'\";--", b"%s%n", b"{0}", b"(", b"\"", b"\\", b" " * 50,
    b"A" * 3000,
]  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
async def test_junk_gets_replies_and_nothing_else(seed):
    chance = random.Random(seed)
    async with doors(max_errors=10**6, slow_after=10**6, max_idle_commands=10**6) as here:
        client = await here.enter()
        await client.say("EHLO c")
        for _ in range(60):
            await client.write(b"".join(chance.choices(WORDS, k=chance.randint(1, 8))) + b"\r\n")
        await client.write(b"\r\n.\r\nRSET\r\nNOOP last\r\n")
        client.writer.write_eof()
        said = (await asyncio.wait_for(client.reader.read(), 15)).decode()
        for line in said.splitlines():
            assert re.fullmatch(r"[2345]\d\d[ -]([245]\.\d\.\d )?[ -~]*", line), line
            assert "secret" not in line
            assert "Error: (" not in line
            assert re.match(r"[245]\d\d[ -][245]\.\d\.\d |354 |250[ -]", line), line
        assert said.splitlines()[-1] == "250 2.0.0 OK"
        assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\0", b"".join(here.house.contents))
