"""What every page does and never does (RELIABILITY.md T44; PROMISES.md P15)."""

import base64
import hashlib
import logging
import re
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.requests import Request

from listserv.store.db import Database
from listserv.web.app import create_app
from listserv.web.kit import client_ip
from listserv.web.server import Pages
from tests.web.serving import ANYWHERE, NOW, ONE_CLICK, Place, serving


async def everything(here: Place) -> list[tuple[str, str, bytes]]:
    """Requests that reach every kind of answer: method, path, body."""
    link = here.links["ada@a.example"]
    pages = ["/", "/robots.txt", "/health", "/nowhere", link, "/leave/walkers@lists.example/wrong"]
    gets = [(method, path, b"") for path in pages for method in ("GET", "HEAD", "DELETE")]
    return [*gets, ("POST", link, b""), ("POST", link, b"x" * 20_000), ("POST", link, ONE_CLICK)]


async def test_every_answer_has_the_same_protection_and_no_cookie(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        for method, path, body in await everything(here):
            got = await here.ask(method, path, body)
            policy = got["Content-Security-Policy"].split("; ")
            assert {"default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"} <= set(policy), path
            assert {"form-action 'none'", "form-action 'self'"} & set(policy), path
            assert "unsafe" not in str(policy)
            assert got["X-Content-Type-Options"] == "nosniff"
            assert got["Referrer-Policy"] == "no-referrer"
            assert got["Cache-Control"] == "no-store"
            assert got["X-Robots-Tag"] == "noindex"
            assert got["Date"] == "Sun, 22 Nov 2026 12:00:00 GMT"
            assert not {"set-cookie", "server", "location", "x-powered-by"} & {name for name, _ in got.fields}, path


async def test_a_page_s_own_style_is_allowed_and_no_other(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        for path in ("/", here.links["ada@a.example"], "/nowhere"):
            got = await here.ask("GET", path)
            (style,) = re.findall("<style>(.*?)</style>", got.body, re.DOTALL)
            digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
            assert f"style-src 'sha256-{digest}'" in got["Content-Security-Policy"]
            assert " style=" not in got.body


async def test_no_page_has_a_script_or_anything_from_elsewhere(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        for method, path, body in await everything(here):
            assert not re.search(
                r"<script|<img|<iframe|<link|src=|https?:|\son\w+=", (await here.ask(method, path, body)).body
            )


async def test_a_head_has_the_fields_of_its_get_and_no_body(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        for path in ("/", "/robots.txt", "/health", "/nowhere", here.links["ada@a.example"]):
            get, head = await here.ask("GET", path), await here.ask("HEAD", path)
            assert (head.status, head.fields, head.body) == (get.status, get.fields, "")


async def test_the_home_page_says_what_this_is(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        home = await here.ask("GET", "/")
        assert home.status == 200
        assert home["Content-Type"] == "text/html; charset=utf-8"
        assert "Example Groups" in home.body


async def test_search_engines_are_kept_out_of_the_links(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        assert (await here.ask("GET", "/robots.txt")).body == "User-agent: *\nDisallow: /leave/\nDisallow: /confirm/\n"


async def test_an_unknown_page_is_404_and_shows_nothing_of_what_was_asked(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        missing = await here.ask("GET", "/<b>wicked/../%3Cscript%3E?x=%3Cscript%3E")
        assert missing.status == 404
        assert "wicked" not in missing.body
        assert "script" not in missing.body


async def test_health_tells_whether_the_database_answers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(tmp_path) as here:
        assert (await here.ask("GET", "/health")).body == "ok\n"
        here.db.write_now(lambda tx: tx.exec_driver_sql("ALTER TABLE groups RENAME TO lost"))
        sick = await here.ask("GET", "/health")
        assert sick.status == 503
        assert sick.body == "the database does not answer\n"
        assert "the database does not answer: OperationalError" in caplog.text


async def test_of_a_fault_of_ours_the_log_gets_everything_and_the_client_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path) as here:
        link = here.links["ada@a.example"]
        here.db.write_now(lambda tx: tx.exec_driver_sql("ALTER TABLE subscriptions RENAME TO lost"))
        with caplog.at_level(logging.DEBUG):
            for method in ("GET", "POST"):
                failed = await here.ask(method, link, ONE_CLICK if method == "POST" else b"")
                assert failed.status == 500
                assert failed["Cache-Control"] == "no-store"
                assert not re.search("subscriptions|sqlite|Operational|Traceback|line [0-9]", failed.body)
        assert caplog.text.count("no such table: subscriptions") >= 2
        assert [record.levelname for record in caplog.records if record.name.startswith("listserv")] == ["ERROR"] * 2
        assert link.rpartition("/")[2] not in caplog.text


async def test_a_post_that_fails_changes_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        here.db.write_now(lambda tx: tx.exec_driver_sql("ALTER TABLE editions RENAME TO lost"))
        assert (await here.click("ada@a.example")).status == 500
        assert here.members() == {"ada@a.example"}
        here.db.write_now(lambda tx: tx.exec_driver_sql("ALTER TABLE lost RENAME TO editions"))
        assert (await here.click("ada@a.example")).status == 200
        assert here.members() == set()


@pytest.mark.parametrize(
    ("peer", "forwarded", "ip"),
    [
        ("192.0.2.7", [], "192.0.2.7"),
        ("192.0.2.7", ["198.51.100.1"], "192.0.2.7"),
        ("2001:db8::7", ["198.51.100.1"], "2001:db8::7"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", ["203.0.113.9, 198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", ["203.0.113.9", "2001:DB8:0::1"], "2001:db8::1"),
        ("127.0.0.1", ["198.51.100.1, evil\x00"], "127.0.0.1"),
        ("127.0.0.1", [""], "127.0.0.1"),
        ("::1", ["198.51.100.1"], "198.51.100.1"),
        (None, ["198.51.100.1"], "198.51.100.1"),
        (None, [], ""),
    ],
)
def test_only_the_web_server_in_front_of_us_says_where_a_request_came_from(
    peer: str | None, forwarded: list[str], ip: str
) -> None:
    headers = [(b"x-forwarded-for", each.encode()) for each in forwarded]
    assert client_ip(Request({"type": "http", "client": (peer, 1) if peer else None, "headers": headers})) == ip


async def test_the_access_log_has_the_address_that_the_web_server_saw(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        await here.ask("GET", here.links["ada@a.example"], b"", "", "X-Forwarded-For: 1.1.1.1, 198.51.100.1")
        assert [line["ip"] for line in here.logged()] == ["198.51.100.1"]


async def test_without_its_database_a_page_says_that_it_passes(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    away = Database(f"postgresql+psycopg://x@127.0.0.1:{port}/x")
    async with serving(tmp_path) as here:
        pages = Pages(create_app(here.site, away, lambda: NOW), (ANYWHERE,))
        await pages.start()
        try:
            there = replace(here, pages=pages)
            said = await there.ask("GET", here.links["ada@a.example"])
        finally:
            await pages.stop(5.0)
            away.close()
    assert said.status == 503
    assert "cannot work at the moment" in said.body
