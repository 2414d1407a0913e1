"""The doors of the pages: open or not at all, nobody waits for ever, and who is being served gets the answer."""

import asyncio
import logging
import signal
import socket
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from listserv.settings import Listen, TcpPort, UnixSocket
from listserv.web.server import MAX_HEADER_BYTES
from tests.kit.patience import PATIENCE
from tests.web.serving import ANYWHERE, ONE_CLICK, Place, answer, serving

HALF = 5


class Client:
    """A connection that has said something, and stays open until the block ends."""

    def __init__(self, port: int, octets: bytes) -> None:
        self.port = port
        self.octets = octets

    async def __aenter__(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writer.write(self.octets)
        return reader, self.writer

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


def half_a_click(here: Place) -> bytes:
    """A request that asks whether its body is wanted (RFC 9110 §10.1.1), and misses ONE_CLICK[HALF:]."""
    head = f"POST {here.links['ada@a.example']} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(ONE_CLICK)}\r\n"
    return head.encode() + b"Expect: 100-continue\r\n\r\n" + ONE_CLICK[:HALF]


async def wanted(reader: asyncio.StreamReader) -> None:
    """Back when the server reads the body."""
    async with asyncio.timeout(PATIENCE):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"


async def heard(reader: asyncio.StreamReader) -> bytes:
    """Everything until the other side closes or aborts."""
    octets = b""
    async with asyncio.timeout(PATIENCE):
        with suppress(ConnectionError):
            while more := await reader.read(65536):
                octets += more
    return octets


async def test_the_pages_are_served_at_every_door(tmp_path: Path) -> None:
    path = UnixSocket(tmp_path / "web.sock")
    async with serving(tmp_path, listen=[ANYWHERE, TcpPort("::1", 0), path]) as here:
        first, second, third = here.pages.bound
        assert isinstance(first, TcpPort)
        assert isinstance(second, TcpPort)
        assert 0 not in (first.port, second.port)
        assert third == path
        assert stat.S_IMODE(path.path.stat().st_mode) == 0o666
        for connecting in (
            asyncio.open_connection(first.host, first.port),
            asyncio.open_connection(second.host, second.port),
            asyncio.open_unix_connection(path.path),
        ):
            reader, writer = await connecting
            writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert answer(await heard(reader)).body == "ok\n"
            writer.close()
    assert not path.path.exists()


async def test_a_web_server_at_the_unix_socket_says_where_a_request_came_from(tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    async with serving(tmp_path, listen=[UnixSocket(path)]) as here:
        reader, writer = await asyncio.open_unix_connection(path)
        link = here.links["ada@a.example"]
        for extra in ("", "X-Forwarded-For: 198.51.100.1\r\nConnection: close\r\n"):
            writer.write(f"HEAD {link} HTTP/1.1\r\nHost: x\r\n{extra}\r\n".encode())
        assert (await heard(reader)).count(b"HTTP/1.1 200 ") == 2
        assert [line.get("ip", "") for line in here.logged()] == ["", "198.51.100.1"]
        writer.close()


async def test_a_door_that_is_taken_is_named_and_no_other_stays_open(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as other:
        port, free = taken.getsockname()[1], other.getsockname()[1]
        other.close()
        where = rf"\[http\] listen: cannot listen on 127.0.0.1:{port}: is in use; is another daemon running\?"
        doors: list[Listen] = [
            TcpPort("127.0.0.1", free),
            UnixSocket(tmp_path / "web.sock"),
            TcpPort("127.0.0.1", port),
        ]
        with pytest.raises(OSError, match=where):
            async with serving(tmp_path, listen=doors):
                pass
        assert not (tmp_path / "web.sock").exists()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", free)


async def test_a_stale_unix_socket_is_replaced_and_a_file_is_not(tmp_path: Path) -> None:
    stale, file = tmp_path / "stale.sock", tmp_path / "precious"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(stale))
    async with serving(tmp_path, listen=[ANYWHERE, UnixSocket(stale)]):
        pass
    file.write_text("mine")
    (tmp_path / "b").mkdir()
    with pytest.raises(OSError, match=rf"\[http\] listen: cannot listen on unix:{file}: is in use"):
        async with serving(tmp_path / "b", listen=[UnixSocket(file)]):
            pass
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        b"POST LINK HTTP/1.1\r\nHost: x\r\nContent-Length: 26\r\n\r\nList-",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HT",
    ],
)
async def test_who_does_not_finish_a_request_is_sent_away(tmp_path: Path, octets: bytes) -> None:
    async with serving(tmp_path, exchange_seconds=0.3) as here:
        request = octets.replace(b"LINK", here.links["ada@a.example"].encode())
        async with Client(here.port, request) as (reader, _):
            await heard(reader)
        assert here.members() == {"ada@a.example"}
        assert (await here.ask("GET", "/health")).status == 200


async def test_who_asks_and_never_reads_is_sent_away(tmp_path: Path) -> None:
    async with serving(tmp_path, exchange_seconds=0.5) as here:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(ask_for_ever(client, here.port), 15)


async def ask_for_ever(client: socket.socket, port: int) -> None:
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", port))
    while True:
        await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)


async def test_a_slow_sender_gets_408(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("listserv.web.oneclick.BODY_SECONDS", 0.2)
    async with serving(tmp_path) as here:
        async with Client(here.port, half_a_click(here)) as (reader, _):
            await wanted(reader)
            assert answer(await heard(reader)).status == 408
        assert here.members() == {"ada@a.example"}


async def test_who_hangs_up_in_the_middle_is_no_fault_of_ours(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(tmp_path) as here:
        async with Client(here.port, half_a_click(here)) as (reader, writer):
            await wanted(reader)
            writer.transport.abort()
        await here.ask("GET", "/")
        assert here.members() == {"ada@a.example"}
    assert not caplog.records


async def test_one_connection_more_than_the_limit_is_told_to_come_back(tmp_path: Path) -> None:
    async with serving(tmp_path, max_connections=3) as here:
        async with Client(here.port, b""), Client(here.port, b""), Client(here.port, b""):
            full = answer(await here.say(b""))
            assert full.status == 503
            assert full["Retry-After"] == "30"
        assert (await here.ask("GET", "/health")).status == 200


@pytest.mark.parametrize(
    "octets",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n\r\n",
        b"EHLO client.example\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * (MAX_HEADER_BYTES + 1),
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /%C3%28%00%FF HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET http://elsewhere/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"CONNECT elsewhere:443 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n",
    ],
)
async def test_nonsense_gets_an_answer_and_leaves_no_trace(
    tmp_path: Path, octets: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path) as here:
        assert (await here.say(octets)).startswith(b"HTTP/1.1 ")
        assert (await here.ask("GET", "/health")).status == 200
    assert not caplog.records


async def test_many_requests_go_over_one_connection(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        one = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
        last = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        assert (await here.say(one * 20 + last)).count(b"HTTP/1.1 200 ") == 21


async def test_nothing_is_logged_of_what_is_asked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with serving(tmp_path) as here:
            await here.ask("GET", here.links["ada@a.example"])
            await here.click("ada@a.example")
            await here.ask("POST", here.links["ada@a.example"], b"nonsense", "multipart/form-data; boundary=x")
        assert "/leave/" not in caplog.text
        assert here.links["ada@a.example"].rpartition("/")[2] not in caplog.text


async def test_who_is_being_served_gets_the_answer_when_the_server_stops(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        port = here.port
        async with Client(port, b"") as (idle, _), Client(port, half_a_click(here)) as (reader, writer):
            await wanted(reader)
            stopping = asyncio.create_task(here.pages.stop(10.0))
            assert await heard(idle) == b""
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
            writer.write(ONE_CLICK[HALF:])
            assert answer(await heard(reader)).status == 200
            await asyncio.wait_for(stopping, PATIENCE)
        assert here.members() == set()


async def test_who_takes_longer_than_the_grace_is_cut_off(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(tmp_path) as here, Client(here.port, half_a_click(here)) as (reader, _):
        await wanted(reader)
        await asyncio.wait_for(here.pages.stop(0.1), PATIENCE)
        assert await heard(reader) == b""
        assert here.members() == {"ada@a.example"}
    assert not caplog.records


async def test_signals_stay_with_the_daemon(tmp_path: Path) -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    async with serving(tmp_path):
        assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before
