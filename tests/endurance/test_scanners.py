"""Link scanners: GET and HEAD of every URL in 100 copies change nothing; each POST unsubscribes once (T49)."""

import asyncio
import http.client
import re
from pathlib import Path

from listserv.settings import TcpPort
from tests.kit.house import House, house

WALKERS = "walkers@lists.example"
ADA = "ada@a.example"
URL = re.compile(rb"https?://[^\s<>\"]+")


def urls(here: House) -> list[str]:
    """Every URL of everything that was sent, folded headers unfolded, as a path at our own pages."""
    copies = [received.content.replace(b"\r\n ", b"") for received in here.world.envelopes]
    found = {url.decode() for copy in copies for url in URL.findall(copy)}
    return sorted(url.removeprefix(here.node.site.url) for url in found)


def visit(here: House, method: str, paths: list[str], body: str | None = None) -> set[int]:
    """The statuses of one connection's requests."""
    assert here.daemon.pages is not None
    bound = here.daemon.pages.bound[0]
    assert isinstance(bound, TcpPort)
    connection = http.client.HTTPConnection(bound.host, bound.port, timeout=15)
    kind = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
    statuses = set()
    for path in paths:
        connection.request(method, path, body, kind)
        answer = connection.getresponse()
        answer.read()
        statuses.add(answer.status)
    connection.close()
    return statuses


async def test_scanners_change_nothing_and_each_click_counts_once(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS, [ADA, *(f"m{n}@m.example" for n in range(99))], footer="Walkers")
        await here.post(ADA, WALKERS)
        await here.quiet()
        found = urls(here)
        assert len(found) == 100
        for method in ("GET", "HEAD", "OPTIONS"):
            await asyncio.to_thread(visit, here, method, found)
        await here.quiet()
        assert len(here.members(group)) == 100
        assert here.world.count == 100
        click = "List-Unsubscribe=One-Click"  # RFC 8058 §3.2
        assert await asyncio.to_thread(visit, here, "POST", found[:60], click) == {200}
        assert await asyncio.to_thread(visit, here, "POST", found[:60], click) == {200}
        await here.quiet()
        assert len(here.members(group)) == 40
        left = [line["account"] for line in here.log() if line["action"] == "member.left"]
        assert len(left) == len(set(left)) == 60
        assert here.world.count == 160  # each of them has one mail with an undo
