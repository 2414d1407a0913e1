"""The pages in a person's hands: a real browser on a telephone."""

from pathlib import Path

from playwright.async_api import ViewportSize, async_playwright

from listserv.store import accounts
from tests.kit.components import needs_chromium
from tests.web.serving import serving
from tests.web.test_confirm import NINA, asked

TELEPHONE = ViewportSize(width=360, height=640)


async def test_a_person_opens_the_link_presses_the_button_and_is_told(tmp_path: Path) -> None:
    chromium = needs_chromium()
    async with serving(tmp_path, ["ada@a.example", "bob@b.example"]) as here, async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=chromium)
        context = await browser.new_context(viewport=TELEPHONE, is_mobile=True, has_touch=True, device_scale_factor=2)
        page = await context.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda fault: complaints.append(str(fault)))

        # when Ada opens the link, she is asked
        await page.goto(here.site.url + here.links["ada@a.example"])
        assert await page.get_by_role("heading").inner_text() == "Leave The <Walkers>?"
        assert here.members() == {"ada@a.example", "bob@b.example"}
        button = page.get_by_role("button")
        box = await button.bounding_box()
        assert box is not None
        assert box["height"] >= 44, "large enough for a thumb"
        assert box["y"] + box["height"] <= TELEPHONE["height"], "seen without scrolling"
        assert await page.evaluate("document.documentElement.scrollWidth") <= TELEPHONE["width"]
        assert await button.evaluate("it => getComputedStyle(it).backgroundColor") == "rgb(160, 32, 32)", "style is on"

        # when she presses the button, she is out and told so
        await button.tap()
        await page.get_by_role("heading", name="You have left").wait_for()
        assert here.members() == {"bob@b.example"}

        # when she loads the result again (the browser posts again), nothing more happens
        await page.reload()
        assert await page.get_by_role("heading").inner_text() == "You have left The <Walkers>"
        assert here.written_to() == ["ada@a.example"]
        assert await context.cookies() == []
        assert complaints == []
        await browser.close()


async def test_a_person_opens_a_question_says_who_she_is_and_joins(tmp_path: Path) -> None:
    chromium = needs_chromium()
    async with serving(tmp_path) as here, async_playwright() as driver:
        path = asked(here)
        browser = await driver.chromium.launch(executable_path=chromium)
        context = await browser.new_context(viewport=TELEPHONE, is_mobile=True, has_touch=True, device_scale_factor=2)
        page = await context.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda fault: complaints.append(str(fault)))

        # when Nina opens the link, she is asked
        await page.goto(here.site.url + path)
        assert await page.get_by_role("heading").inner_text() == "Is this what you want?"
        assert await page.evaluate("document.documentElement.scrollWidth") <= TELEPHONE["width"]
        yes = page.get_by_role("button", name="Yes")
        box = await yes.bounding_box()
        assert box is not None
        assert box["height"] >= 44, "large enough for a thumb"
        assert box["y"] + box["height"] <= TELEPHONE["height"], "seen without scrolling"
        assert NINA not in here.members()

        # when she says who she is and presses the button, she is in and told so
        await page.get_by_label("Country").fill("Österreich")
        await yes.tap()
        await page.get_by_role("heading", name="Thank you").wait_for()
        assert NINA in here.members()
        member = here.db.read_now(accounts.mailbox, NINA)
        assert member is not None
        assert here.db.read_now(accounts.account, member.account_id).country == "Österreich"

        # when she loads the result again (the browser posts again), nothing more happens
        await page.reload()
        assert await page.get_by_role("heading").inner_text() == "That question is closed"
        assert await context.cookies() == []
        assert complaints == []
        await browser.close()
