"""Ads: who gets which, how they are marked, and what cannot be in them."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listserv.features import ads as feature
from listserv.features.ads import Added, Refused
from listserv.hooks import Addition
from listserv.mail import harmless
from listserv.model.envelope import DmarcPolicy, Evidence, Proof
from listserv.model.group import Group, Kind, Policy
from listserv.store import ads, groups
from listserv.store.ads import NewAd
from tests.kit.house import House, house, mail, read, words

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
HELLO = NewAd("Boats for hire", "A day at sea.\nFrom 20 € a day.", advertiser="Boats & Co")


def add(here: House, said: NewAd) -> int:
    result = here.node.db.write_now(lambda tx: feature.add(here.act(tx), said))
    assert isinstance(result, Added), result
    return result.id


def shown(here: House, group: Group, now: datetime | None = None) -> Addition | None:
    return here.node.db.read_now(feature.amend, group, now or here.clock())


def print_once(here: House, group: Group, copies: int = 3) -> int | None:
    """One edition more: the id of its ad."""

    def work(tx):  # type: ignore[no-untyped-def]
        addition = feature.amend(tx, group, here.clock())
        if addition:
            feature.printed(tx, addition, group, copies, here.clock())
        return addition and addition.ad_id

    return here.node.db.write_now(work)


async def test_every_member_gets_the_same_ad_and_only_copies_are_counted(url: str, tmp_path: Path) -> None:
    # given a group with three members, and an ad for everybody
    async with house(url, tmp_path) as here:
        group = here.group("walkers@lists.example", ["ada@a.example", "bob@b.example", "cy@c.example"])
        id = add(here, HELLO)

        # when one of them posts twice
        for number in (1, 2):
            await here.post("ada@a.example", "walkers@lists.example", f"Post {number}")
            await here.quiet()

        # then all bodies are alike and say what an ad is, and the report has editions and copies
        for number in (0, 1):
            bodies = {
                words(here.inbox(to)[number]).replace("\r", "")
                for to in ("ada@a.example", "bob@b.example", "cy@c.example")
            }
            assert len(bodies) == 1
            assert "Advertisement: Boats for hire\n(Boats & Co)\n\nA day at sea.\nFrom 20 € a day." in bodies.pop()
        [count] = here.node.db.read_now(ads.counts, [id])
        assert (count.group, count.editions, count.copies) == (group.address, 2, 6)
        assert count.day == here.clock().date()


async def test_in_html_mail_the_text_of_an_ad_is_escaped(url: str, tmp_path: Path) -> None:
    async with house(url, tmp_path) as here:
        here.group("walkers@lists.example", ["ada@a.example"])
        add(here, NewAd("<script>alert(1)</script>", "</body><img src=x onerror=y>", advertiser="A & B"))
        html = mail(
            "ada@a.example",
            "walkers@lists.example",
            "<html><body><p>Hi</p></body></html>",
            Content_Type="text/html; charset=utf-8",
        )
        await here.send("ada@a.example", "walkers@lists.example", html)
        await here.quiet()
        body = str(read(here.notice("ada@a.example")).get_content())
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in body
        assert "&lt;/body&gt;&lt;img src=x onerror=y&gt;" in body
        assert "<script" not in body
        assert "<img" not in body
        assert body.count("</body>") == 1


async def test_the_text_of_an_ad_makes_no_header_and_no_part(url: str, tmp_path: Path) -> None:
    async with house(url, tmp_path) as here:
        here.group("walkers@lists.example", ["ada@a.example"])
        post = mail(
            "ada@a.example", "walkers@lists.example", "--b\n\nHi\n--b--", Content_Type='multipart/mixed; boundary="b"'
        )
        add(here, NewAd("Boats", "x\n--b\nContent-Type: text/html\n\n<b>evil</b>\n--b--"))
        await here.send("ada@a.example", "walkers@lists.example", post)
        await here.quiet()
        got = read(here.notice("ada@a.example"))
        assert [part.get_content_type() for part in got.walk()] == ["multipart/mixed", "text/plain"]
        assert got["Content-Type"].params["boundary"] == "b"


async def test_a_group_that_takes_no_ads_has_none(url: str, tmp_path: Path) -> None:
    async with house(url, tmp_path) as here:
        group = here.group("walkers@lists.example", ads=False)
        add(here, HELLO)
        assert shown(here, group) is None


async def test_the_ad_that_a_group_has_seen_least_is_next(url: str, tmp_path: Path) -> None:
    async with house(url, tmp_path) as here:
        one, other = here.group("one@lists.example"), here.group("other@lists.example")
        first, second, third = (add(here, HELLO) for _ in range(3))
        assert [print_once(here, one) for _ in range(4)] == [first, second, third, first]
        assert print_once(here, other) == first  # what another group has seen is of no account


async def test_being_asked_twice_gives_the_same_ad(url: str, tmp_path: Path) -> None:
    async with house(url, tmp_path) as here:
        group = here.group("one@lists.example")
        add(here, HELLO), add(here, HELLO)
        assert shown(here, group) == shown(here, group)


@pytest.mark.parametrize(
    ("said", "runs"),
    [
        ({}, True),
        ({"groups": ("sailing@lists.example",)}, True),
        ({"groups": ("other@lists.example",)}, False),
        ({"topics": ("SAILING",)}, True),
        ({"topics": ("cooking",)}, False),
        ({"groups": ("other@lists.example",), "topics": ("boats",)}, True),
    ],
)
def test_an_ad_runs_by_group_or_topic(said: dict[str, tuple[str, ...]], runs: bool) -> None:
    group = Group(1, "sailing@lists.example", Kind.DISCUSSION, Policy(topics=("Sailing", "boats")))
    assert feature.fits(ads.Ad(1, NewAd("t", "x", **said), "running", NOW), group) is runs


async def test_an_ad_runs_from_its_first_to_its_last_day(url: str, tmp_path: Path) -> None:
    async with house(url, tmp_path) as here:
        group = here.group("one@lists.example")
        add(here, NewAd("t", "x", starts=date(2026, 11, 22), ends=date(2026, 11, 23)))
        days = [NOW + timedelta(days=n) for n in range(-1, 3)]
        assert [shown(here, group, day) is not None for day in days] == [False, True, True, False]


async def test_an_ad_can_be_paused_resumed_and_removed(url: str, tmp_path: Path) -> None:
    async with house(url, tmp_path) as here:
        group = here.group("one@lists.example")
        id = add(here, HELLO)

        def do(act):  # type: ignore[no-untyped-def]
            return here.node.db.write_now(lambda tx: act(here.act(tx), id))

        assert [do(feature.pause), do(feature.pause)] == [True, False]
        assert shown(here, group) is None
        assert [do(feature.resume), do(feature.resume)] == [True, False]
        assert shown(here, group) is not None
        assert [do(feature.remove), do(feature.remove), do(feature.pause)] == [True, None, None]
        await here.quiet()
        actions = [line["action"] for line in here.log()]
        assert actions.count("ad.paused") == 1
        assert actions[-1] == "ad.removed"


async def test_an_ad_removed_between_rendering_and_counting_stops_nothing(url: str, tmp_path: Path) -> None:
    async with house(url, tmp_path) as here:
        group = here.group("one@lists.example")
        id = add(here, HELLO)
        addition = shown(here, group)
        assert addition is not None
        here.node.db.write_now(ads.remove, id)
        here.node.db.write_now(lambda tx: feature.printed(tx, addition, group, 3, here.clock()))
        assert here.node.db.read_now(ads.counts) == []


async def test_counts_outlive_the_group(url: str, tmp_path: Path) -> None:
    async with house(url, tmp_path) as here:
        group = here.group("one@lists.example")
        add(here, HELLO)
        print_once(here, group, copies=5)
        here.node.db.write_now(groups.remove, group.id)
        [count] = here.node.db.read_now(ads.counts)
        assert (count.group, count.copies) == ("", 5)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (NewAd("", "x"), "title"),
        (NewAd("t", " "), "text"),
        (NewAd("t\nBcc: x@y.example", "x"), "title"),
        (NewAd("t" * 201, "x"), "title"),
        (NewAd("t", "x", advertiser="a\r\nb"), "advertiser"),
        (NewAd("t", "x\x00y"), "text"),
        (NewAd("t", "x\u202ey"), "text"),
        (NewAd("t", "x" * 2001), "text"),
        (NewAd("t", "x", topics=(" ",)), "topic"),
        (NewAd("t", "x", starts=date(2026, 2, 1), ends=date(2026, 1, 1)), "2026-01-01"),
        (NewAd("t", "x", html="<script>"), "<script>"),
        (NewAd("t", "x", groups=("nobody@lists.example",)), "nobody@lists.example"),
    ],
)
async def test_what_cannot_be_an_ad_is_refused_by_name(said: NewAd, why: str, tmp_path: Path) -> None:
    async with house("sqlite:///listserv.db", tmp_path) as here:
        result = here.node.db.write_now(lambda tx: feature.add(here.act(tx), said))
        assert isinstance(result, Refused)
        assert why in result.why
        assert here.node.db.read_now(ads.everything) == []


@pytest.mark.parametrize(
    "html",
    [
        "",
        "<b>Boats</b> &amp; <i>more</i>",
        '<p>See <a href="https://boats.example.org/?a=1&amp;b=2">our boats</a>.<br>Now<br/>or <br />later</p>',
        "<A HREF='https://boats.example.org/'>boats</A>",
        "<span><strong>x</strong><em>&#8364;&#x20AC;</em></span>",
    ],
)
def test_simple_html_is_harmless(html: str) -> None:
    assert harmless.fault_in(html) == ""


@pytest.mark.parametrize(
    ("html", "culprit"),
    [
        ("<script>x</script>", "<script>"),
        ("<style>x</style>", "<style>"),
        ("<iframe src=https://x>", "<iframe>"),
        ("<form action=https://x>", "<form>"),
        ("<img src=https://x/pixel.gif>", "<img>"),
        ("<svg/onload=alert(1)>", "<svg>"),
        ("<p onclick=x>", "onclick"),
        ('<b style="position:fixed">', "style"),
        ('<a href="javascript:alert(1)">', "javascript"),
        ('<a href="http://x.example/">', "http://"),
        ('<a href="https://x.example/" onmouseover="x">', "onmouseover"),
        ("<a href=https://x.example/>", "href"),
        ("<a>", "<a>"),
        ('<a href="https://x/"><a href="https://y/">', "inside"),
        ('<a href="https://x/?a&b">', "&amp;"),
        ("<!-- x -->", "<!--"),
        ("<![CDATA[x]]>", "CDATA"),
        ("<b", "&lt;"),
        ("a < b", "&lt;"),
        ("AT&T", "&amp;"),
        ("<p>x", "not closed"),
        ("x</p>", "not open"),
        ("<b><i></b></i>", "not open"),
        ("</body>", "</body>"),
        ("<p/>", "attributes"),
        ("</br>", "end tag"),
        ("x\x00", "U+0000"),
        ("x\u202e", "U+202E"),
        ("x" * 20_001, "20001"),
    ],
)
def test_what_is_not_on_the_list_is_named(html: str, culprit: str) -> None:
    fault = harmless.fault_in(html)
    assert culprit.removeprefix("</").removesuffix(">") in fault
    assert "\n" not in fault


@given(st.text(alphabet="<>/abipscriptsrc=\"' &;:\nhref", max_size=200))
def test_html_that_passes_has_only_elements_of_the_list(html: str) -> None:
    from html.parser import HTMLParser

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            assert tag in {"a", "b", "br", "em", "i", "p", "span", "strong"}
            assert all(name == "href" and value and value.startswith("https://") for name, value in attributes)

    if harmless.fault_in(html) == "":
        Reader().feed(html)


async def test_where_it_would_have_the_post_lost_it_is_left_out_and_not_counted(url: str, tmp_path: Path) -> None:
    async with house(url, tmp_path) as here:
        group = here.group("walkers@lists.example", ["ada@a.example"], from_="author")
        id = add(here, HELLO)
        reject = Evidence(Proof.PROVEN, DmarcPolicy.REJECT, "dmarc=pass")
        await here.hand_in(group.address, mail("ada@a.example", group.address), reject)
        await here.quiet()
        assert "Boats" not in words(here.notice("ada@a.example"))
        assert here.node.db.read_now(ads.counts, [id]) == []
