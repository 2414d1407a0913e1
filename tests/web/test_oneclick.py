"""The one-click link: whoever fetches it changes nothing, whoever posts leaves (RFC 8058; RELIABILITY.md T47, T49)."""

import asyncio
from pathlib import Path

import pytest

from listserv.model.group import Role
from listserv.store import accounts, groups
from tests.web.serving import FORM, NOW, ONE_CLICK, Answer, serving

EVERYBODY = [f"member{n}@a.example" for n in range(100)]
BOUNDARY = "multipart/form-data; boundary=xYzZY"


def part(name: str, value: str) -> bytes:
    return f'--xYzZY\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


async def test_100_gets_and_heads_change_nothing_and_each_post_unsubscribes_once(tmp_path: Path) -> None:
    async with serving(tmp_path, EVERYBODY) as here:
        for method in ("GET", "HEAD"):
            shown = await asyncio.gather(*(here.ask(method, link) for link in here.links.values()))
            assert {each.status for each in shown} == {200}
        assert here.members() == set(EVERYBODY)
        assert here.written_to() == []

        left = await asyncio.gather(*(here.click(each) for each in EVERYBODY))
        assert {each.status for each in left} == {200}
        assert here.members() == set()
        assert sorted(here.written_to()) == sorted(EVERYBODY)

        again = await asyncio.gather(*(here.click(each) for each in EVERYBODY))
        assert {each.status for each in again} == {200}
        assert {each.body for each in again} == {each.body for each in left}
        assert len(here.written_to()) == 100, "a second click sends no second farewell"


async def test_a_post_takes_out_its_own_member_only(tmp_path: Path) -> None:
    async with serving(tmp_path, ["ada@a.example", "bob@b.example"]) as here:
        assert (await here.click("ada@a.example")).status == 200
        assert here.members() == {"bob@b.example"}
        assert here.written_to() == ["ada@a.example"]


async def test_one_that_is_pressed_twice_at_once_counts_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        answers = await asyncio.gather(*(here.click("ada@a.example") for _ in range(10)))
        assert {each.status for each in answers} == {200}
        assert here.written_to() == ["ada@a.example"]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (FORM, ONE_CLICK),
        (FORM + "; charset=UTF-8", b"List-Unsubscribe=One%2DClick"),
        (FORM, b"utm_source=x&" + ONE_CLICK + b"&empty="),
        ("", ONE_CLICK),
        ("text/plain", ONE_CLICK),
        (BOUNDARY, part("List-Unsubscribe", "One-Click") + b"--xYzZY--\r\n"),
        ("Multipart/Form-Data; boundary=xYzZY", part("a", "b") + part("List-Unsubscribe", "One-Click") + b"--xYzZY--"),
    ],
)
async def test_a_post_in_either_encoding_leaves(tmp_path: Path, kind: str, body: bytes) -> None:
    async with serving(tmp_path) as here:
        left = await here.ask("POST", here.links["ada@a.example"], body, kind)
        assert left.status == 200
        assert left["Location"] == ""
        assert "You have left" in left.body
        assert here.members() == set()


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (FORM, b""),
        ("", b""),
        (FORM, b"List-Unsubscribe=no"),
        (FORM, b"=One-Click"),
        (FORM, b"a&" * 30 + ONE_CLICK),
        (BOUNDARY, ONE_CLICK),
        (BOUNDARY, part("List-Unsubscribe", "later") + b"--xYzZY--\r\n"),
        (BOUNDARY, b'--xYzZY\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\nx\r\n--xYzZY--\r\n'),
        ("multipart/form-data", part("List-Unsubscribe", "One-Click") + b"--xYzZY--\r\n"),
        ("application/json", b'{"List-Unsubscribe": "One-Click"}'),
    ],
)
async def test_a_post_that_says_something_else_changes_nothing_and_is_no_success(
    tmp_path: Path, kind: str, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path) as here:
        assert (await here.ask("POST", here.links["ada@a.example"], body, kind)).status == 400
        assert here.members() == {"ada@a.example"}
    assert not caplog.records, "what the world does wrong is no fault of ours"


async def test_a_post_without_the_word_is_asked_again(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        assert "<button" in (await here.ask("POST", here.links["ada@a.example"])).body


async def test_the_page_asks_with_one_button_that_posts_what_a_mail_reader_posts(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        page = (await here.ask("GET", here.links["ada@a.example"])).body
        assert page.count("<form") == page.count("<button") == 1
        assert 'method="post"' in page
        assert 'name="List-Unsubscribe"' in page
        assert 'value="One-Click"' in page


async def test_the_page_names_the_group_as_text_and_not_the_member(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        for page in (await here.ask("GET", here.links["ada@a.example"]), await here.click("ada@a.example")):
            assert "The &lt;Walkers&gt;" in page.body
            assert "<Walkers>" not in page.body
            assert "ada@a.example" not in page.body


async def test_the_page_is_the_same_for_who_has_left(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        before = await here.ask("GET", here.links["ada@a.example"])
        await here.click("ada@a.example")
        assert await here.ask("GET", here.links["ada@a.example"]) == before


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_wrong_tag_and_an_unknown_group_get_the_same_answer(tmp_path: Path, method: str) -> None:
    async with serving(tmp_path, ["ada@a.example"]) as here:
        tag = here.links["ada@a.example"].rpartition("/")[2]
        changed = ("b" if tag[0] == "a" else "a") + tag[1:]
        others = here.site.tags.leave(here.group.id + 1, 1)
        bounce = here.site.tags.bounce(here.group.id, 1)
        paths = [
            f"/leave/walkers@lists.example/{each}" for each in (changed, others, bounce, "x", "%00", "%ff", tag * 99)
        ]
        paths += [
            f"/leave/{each}/{tag}" for each in ("sailors@lists.example", "walkers", "%00@lists.example", "@", "'")
        ]
        gone: list[Answer] = [await here.ask(method, path, ONE_CLICK if method == "POST" else b"") for path in paths]
        assert gone == [gone[0]] * len(paths)
        assert gone[0].status == 404
        assert here.members() == {"ada@a.example"}
        assert here.logged() == [], "strangers cannot make us write"


async def test_the_link_of_one_group_does_not_open_another(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        here.db.write_now(lambda tx: groups.add(tx, "sailors@lists.example", here.group.kind, here.group.policy, NOW))
        stolen = here.links["ada@a.example"].replace("walkers", "sailors")
        assert (await here.ask("POST", stolen, ONE_CLICK)).status == 404


async def test_a_link_whose_case_was_folded_works(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        _, leave, group, tag = here.links["ada@a.example"].split("/")
        folded = f"/{leave}/{group.upper().replace('@', '%40')}/{tag.upper()}"
        assert (await here.ask("POST", folded, ONE_CLICK)).status == 200
        assert here.members() == set()


async def test_no_address_redirects(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        for path in (
            here.links["ada@a.example"] + "/",
            "/leave",
            "/leave/",
            "/leave/walkers@lists.example",
            "//",
            "/health/",
        ):
            assert (await here.ask("POST", path, ONE_CLICK)).status == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"])
async def test_other_methods_are_refused(tmp_path: Path, method: str) -> None:
    async with serving(tmp_path) as here:
        refused = await here.ask(method, here.links["ada@a.example"])
        assert refused.status == 405
        assert set(refused["Allow"].split(", ")) == {"GET", "HEAD", "POST"}
        assert here.members() == {"ada@a.example"}


async def test_a_body_beyond_10_kb_is_not_read(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        link, body = here.links["ada@a.example"], ONE_CLICK + b"&x=" + b"x" * 20_000
        assert (await here.ask("POST", link, body)).status == 413
        chunked = f"POST {link} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        assert (await here.say(chunked + b"4e20\r\n" + body[:20_000] + b"\r\n0\r\n\r\n")).startswith(b"HTTP/1.1 413 ")
        assert here.members() == {"ada@a.example"}


async def test_the_access_log_has_each_right_request_and_never_the_tag(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        link = here.links["ada@a.example"]
        await here.ask("GET", link)
        await here.ask("HEAD", link)
        await here.ask("POST", link)
        await here.click("ada@a.example")
        await here.click("ada@a.example")

        requests = [line for line in here.logged() if line["action"] == "web.request"]
        assert [(line["method"], line["status"], line.get("account", "")) for line in requests] == [
            ("GET", 200, "ada@a.example"),
            ("HEAD", 200, "ada@a.example"),
            ("POST", 400, "ada@a.example"),
            ("POST", 200, "ada@a.example"),
            ("POST", 200, ""),
        ]
        assert {(line["page"], line["group"], line["ip"], line["way"]) for line in requests} == {
            ("leave", "walkers@lists.example", "127.0.0.1", "web")
        }
        assert [line["member"] for line in here.logged() if line["action"] == "member.left"] == ["ada@a.example"]
        assert link.rpartition("/")[2] not in str(here.logged())


async def test_an_admin_who_leaves_keeps_the_role(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        member = here.db.read_now(accounts.member, here.group.id, "ada@a.example")
        assert member is not None
        here.db.write_now(lambda tx: accounts.change(tx, member.subscription_id, role=Role.OWNER))
        assert (await here.click("ada@a.example")).status == 200
        assert (await here.click("ada@a.example")).status == 200
        assert here.members() == {"ada@a.example"}
        assert here.written_to() == ["ada@a.example"]
