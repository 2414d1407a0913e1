"""The doors that the headers name: in, out, help, the owners, the operators, bounces."""

import re
from pathlib import Path

from listserv.store import journal
from tests.kit.house import House, house, mail, read, words

OWNER = "owner@o.example"
ADA = "ada@a.example"
NEW = "nina@n.example"
WALKERS = "walkers@lists.example"


def address(here: House, copy: bytes, header: str) -> str:
    found = re.search(r"mailto:([^>?]+)", str(read(copy)[header]))
    assert found
    return found[1].replace("%2B", "+")


async def test_joining_is_asked_by_mail_and_confirmed_by_a_mere_reply(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS, [ADA])
        await here.post(NEW, "walkers-subscribe@lists.example", "ignored", "ignored")
        await here.quiet()
        question = here.notice(NEW)
        assert read(question)["Auto-Submitted"] == "auto-replied"
        assert here.members(group) == [ADA]
        await here.answer(NEW, question, "")
        await here.quiet()
        assert here.members(group) == [ADA, NEW]
        assert "walkers-unsubscribe" in words(here.notice(NEW))
        # and posts reach her
        await here.post(ADA, WALKERS)
        await here.quiet()
        assert read(here.notice(NEW))["Subject"] == "A walk"


async def test_the_question_holds_nothing_that_the_asker_wrote_and_is_not_repeated(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS)
        for _ in range(3):
            await here.post(f'"Buy pills" <{NEW}>', "walkers-join@lists.example", "buy pills", "buy pills")
        await here.quiet()
        assert len(here.inbox(NEW)) == 1
        assert b"pills" not in here.notice(NEW).lower()


async def test_a_robot_does_not_confirm_and_a_no_is_a_no(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS)
        await here.post(NEW, "walkers-subscribe@lists.example")
        await here.quiet()
        question = here.notice(NEW)
        await here.answer(NEW, question, "I am on holiday", Auto_Submitted="auto-replied")
        await here.answer(NEW, question, "no")
        await here.answer(NEW, question, "")
        await here.quiet()
        assert here.members(group) == []


async def test_in_a_moderated_joining_an_admin_decides_after_the_confirmation(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS, joining="moderated")
        await here.post(NEW, "walkers-subscribe@lists.example")
        await here.quiet()
        await here.answer(NEW, here.notice(NEW), "")
        await here.quiet()
        assert here.members(group) == []
        await here.answer(OWNER, here.notice(OWNER), "approve")
        await here.quiet()
        assert here.members(group) == [NEW]


async def test_closed_groups_say_so_at_rcpt_and_name_no_door(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        for joining in ("invite", "closed"):
            name = f"{joining}@lists.example"
            here.group(name, [ADA], joining=joining)
            assert (await here.post(NEW, f"{joining}-subscribe@lists.example")).startswith("550 5.7.1")
            await here.post(ADA, name)
            await here.quiet()
            assert read(here.notice(ADA))["List-Subscribe"] is None


async def test_leaving_by_the_members_own_address_is_at_once_and_can_be_undone(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS, [ADA, NEW])
        await here.post(ADA, WALKERS)
        await here.quiet()
        door = address(here, here.notice(NEW), "List-Unsubscribe")
        assert door.startswith("walkers-unsubscribe+")
        assert (await here.post("whoever@w.example", door)).startswith("250")
        await here.quiet()
        assert here.members(group) == [ADA]
        farewell = here.notice(NEW)
        await here.answer(NEW, farewell, "")
        await here.quiet()
        assert here.members(group) == [ADA, NEW]


async def test_leaving_without_a_tag_asks_the_member_and_nobody_else(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS, [ADA])
        await here.post("eve@e.example", "walkers-unsubscribe@lists.example")
        await here.post(ADA, "walkers-leave@lists.example")
        await here.quiet()
        assert here.inbox("eve@e.example") == []
        assert here.members(group) == [ADA]
        await here.answer(ADA, here.notice(ADA), "")
        await here.quiet()
        assert here.members(group) == []


async def test_a_forged_tag_opens_no_door(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS, [ADA])
        await here.post(ADA, WALKERS)
        await here.quiet()
        door = address(here, here.notice(ADA), "List-Unsubscribe")
        forged = door.replace("@", "a@")
        assert (await here.post(NEW, forged)).startswith("550 5.1.1")
        path = here.world.envelopes[-1].mail_from
        local, _, domain = path.partition("@")
        last = "b" if local[-1] != "b" else "c"
        assert (await here.send("", f"{local[:-1]}{last}@{domain}", mail(NEW, path))).startswith("550 5.1.1")
        await here.quiet()
        assert here.members(group) == [ADA]
        assert [line["action"] for line in here.log() if line["action"].endswith("forged")] == ["bounce.forged"]


async def test_help_is_answered_once_a_day_and_never_to_robots(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS)
        await here.post(NEW, "walkers-help@lists.example", Auto_Submitted="auto-generated")
        await here.post(NEW, "WALKERS+HELP@lists.example")
        await here.post(NEW, "walkers-help@lists.example")
        await here.quiet()
        assert len(here.inbox(NEW)) == 1
        assert "walkers-subscribe@lists.example" in words(here.notice(NEW))


async def test_owner_mail_reaches_the_admins_untouched_and_never_the_members(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA])
        content = mail(NEW, "walkers-owner@lists.example", "Who are you?", "A question")
        await here.send(NEW, "walkers-owner@lists.example", content)
        await here.quiet()
        assert here.inbox(ADA) == []
        copy = here.notice(OWNER)
        assert copy.endswith(content.partition(b"\r\n\r\n")[2])
        assert read(copy)["From"] == NEW
        assert content.partition(b"\r\n\r\n")[0] in copy


async def test_postmaster_reaches_the_operators(url: str, folder: Path) -> None:
    async with house(url, folder, site={"operators": ["root@ops.example"]}) as here:
        for role in ("postmaster", "abuse", "security"):
            assert (await here.post(NEW, f"{role}@lists.example", subject=role)).startswith("250")
        await here.quiet()
        assert [read(copy)["Subject"] for copy in here.inbox("root@ops.example")] == ["postmaster", "abuse", "security"]


async def test_without_operators_their_mail_waits_in_the_hold_list(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        await here.post(NEW, "postmaster@lists.example", subject="Is anybody there?")
        assert [(hold.group, hold.subject) for hold in here.held()] == [("-", "Is anybody there?")]


async def test_unknown_addresses_and_other_domains_are_refused_at_rcpt(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS)
        assert (await here.post(NEW, "nobody@lists.example")).startswith("550 5.1.1")
        assert (await here.post(NEW, "somebody@elsewhere.example")).startswith("550 5.7.1")


DSN = """Reporting-MTA: dns; mx.a.example

Final-Recipient: rfc822; {recipient}
Action: failed
Status: {status}
Diagnostic-Code: smtp; 550 {status} no such user
"""


def bounce(recipient: str, status: str) -> bytes:
    text = (
        "From: MAILER-DAEMON@mx.a.example\nTo: list\nSubject: Undelivered\nMIME-Version: 1.0\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n'
        "--b\nContent-Type: text/plain\n\nSorry.\n--b\nContent-Type: message/delivery-status\n\n"
        f"{DSN.format(recipient=recipient, status=status)}\n--b--\n"
    )
    return text.replace("\n", "\r\n").encode()


async def test_a_report_of_a_dead_mailbox_is_charged_to_it_once_a_day(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS, [ADA])
        await here.post(ADA, WALKERS)
        await here.quiet()
        path = here.world.envelopes[-1].mail_from
        for status in ("5.2.2", "5.1.1", "5.1.1", "5.7.26"):
            assert (await here.send("", path, bounce(ADA, status))).startswith("250")
        await here.quiet()
        actions = [line["action"] for line in here.log()]
        assert actions.count("bounce.reported") == 2
        assert actions.count("report.logged") == 1
        assert actions.count("message.refused") == 1
        member = here.member(group, ADA)
        assert member is not None
        assert member.bounces == 1
        assert here.members(group) == [ADA]


async def test_a_5xx_on_the_wire_is_charged_alike(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS, [ADA, NEW])
        here.world.answers[ADA] = "550 5.1.1 no such user"
        here.world.answers[NEW] = "550 5.7.1 we do not like your face"
        await here.post(ADA, WALKERS)
        await here.quiet()
        charged = {name: here.member(group, name) for name in (ADA, NEW)}
        assert {name: member.bounces for name, member in charged.items() if member} == {ADA: 1, NEW: 0}
        assert here.node.db.read_now(journal.counted, "refused") == 1


async def test_the_same_post_sent_again_is_taken_and_not_distributed_again(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA, NEW])
        content = mail(ADA, WALKERS)
        first = await here.send(ADA, WALKERS, content)
        again = await here.send(ADA, WALKERS, content)
        assert first.startswith("250")
        assert again.startswith("250")
        await here.quiet()
        assert len(here.inbox(NEW)) == 1


async def test_several_recipients_are_one_transaction(url: str, folder: Path) -> None:
    # Ada is a member of one group only; the other refuses strangers
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA])
        here.group("closed@lists.example", [NEW])
        reply = await here.send(ADA, [WALKERS, "closed@lists.example"], mail(ADA, WALKERS, Cc="closed@lists.example"))
        assert reply.startswith("250")
        await here.quiet()
        assert here.inbox(NEW) == []
        assert len(here.inbox(ADA)) == 2
        told = next(copy for copy in here.inbox(ADA) if read(copy)["Auto-Submitted"])
        assert "closed@lists.example" in words(told)
        reply = await here.send(NEW, [WALKERS], mail(NEW, WALKERS))
        assert reply.startswith("550 5.7.1")
        assert "walkers-subscribe@lists.example" in reply
