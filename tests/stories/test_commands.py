"""Commands by mail: each verb on the wire, and who may give it."""

import json
from pathlib import Path

from listserv.flows import confirming
from listserv.flows.agreeing import Effect
from listserv.mail import tag
from listserv.mail.command import Consent
from listserv.model.envelope import Evidence, Proof
from listserv.model.group import Mode
from listserv.store import groups, schema, tokens
from listserv.store.db import Tx
from tests.kit.house import House, house, mail, read, words

ADA = "ada@a.example"
BOB = "bob@b.example"
EVE = "eve@e.example"
NEW = "nina@n.example"
OWNER = "owner@o.example"
WALKERS = "walkers@lists.example"
SAILING = "sailing@lists.example"
REQUEST = "walkers-request@lists.example"
LISTSERV = "listserv@lists.example"

GENUINE = Evidence(Proof.PROVEN)
FORGED = Evidence(Proof.REFUTED, why=("SPF fails for a.example",))


async def say(
    here: House, text: str, author: str = ADA, to: str = REQUEST, subject: str = "", evidence: Evidence = GENUINE
) -> str:
    """The reply to a mail of commands, when all that it causes is done."""
    reply = await here.hand_in(to, mail(author, to, text, subject), evidence)
    await here.quiet()
    return reply


def told(here: House, address: str = ADA) -> str:
    """The newest mail to this address, as one line."""
    return " ".join(words(here.notice(address)).split())


def wishes(here: House, address: str = ADA, group: str = WALKERS) -> tuple[str, bool, bool, bool]:
    known = here.node.db.read_now(groups.find, group)
    assert known is not None
    found = here.member(known, address)
    assert found is not None
    return found.mode.value, found.own_posts, found.copies, found.visible


async def test_a_proven_author_sets_his_wishes_and_reads_them_back(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA, BOB], title="Walkers")
        reply = await say(here, "set own posts no\nset copies=off\nset visible yes\nset mode none\nwhich\n-- \nAda")
        assert reply.startswith("250")
        assert wishes(here) == ("none", False, False, True)
        answer = here.notice(ADA)
        assert read(answer)["Auto-Submitted"] == "auto-replied"
        assert read(answer)["Reply-To"] == REQUEST
        assert "> set own posts no Done, for Walkers <walkers@lists.example>: your own posts: no" in told(here)
        assert "posts: none, your own posts: no" in told(here)
        assert len(here.inbox(ADA)) == 1
        assert here.inbox(BOB) == []


async def test_the_old_spellings_do_what_they_did(url: str, folder: Path) -> None:
    begin = "set mode each\nset own posts yes\nset copies yes\nset visible no"
    spellings = {
        "set walkers nomail": ("none", True, True, False),
        "SET WALKERS NOREPRO": ("each", False, True, False),
        "set myposts off": ("each", False, True, False),
        "set duplicates off": ("each", True, False, False),
        "set delivery off": ("none", True, True, False),
        "set noconceal": ("each", True, True, True),
        "set digest on": ("each", True, True, False),
    }
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA])
        for line, after in spellings.items():
            await say(here, f"{begin}\n{line}")
            assert wishes(here) == after, line
            assert ("There are no digests here yet." in told(here)) == ("digest" in line)


async def test_an_author_who_is_not_proven_is_asked_and_a_yes_does_it(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA, BOB])
        # when commands come by SMTP in Ada's name
        reply = await here.post(ADA, REQUEST, "set own posts no\nset name Buy Pills\nwho", "")
        await here.quiet()
        assert reply.startswith("250")
        assert wishes(here) == ("each", True, True, False)
        question = here.notice(ADA)
        assert " * carry out: ".join(
            ("", "set walkers@lists.example own posts no", "set name …", "who walkers@lists.example")
        ) in told(here)
        assert b"Pills" not in question
        # and she says yes
        await here.answer(ADA, question, "")
        await here.quiet()
        assert wishes(here) == ("each", False, True, False)
        assert "name: Buy Pills" in told(here)
        # a second yes changes nothing
        await here.answer(ADA, question, "")
        await here.quiet()
        assert "You have answered our mail before" in told(here)


async def test_a_forged_command_is_refused_and_changes_nothing(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS, [ADA])
        for text in ("unsubscribe", "set mode none", "mydata", "who", "end sessions", f"address change {EVE}"):
            assert (await say(here, text, evidence=FORGED)).startswith("550 5.7.1")
        assert (await say(here, "", to="walkers-nomail@lists.example", evidence=FORGED)).startswith("550 5.7.1")
        assert here.members(group) == [ADA]
        assert here.inbox(ADA) == []
        assert wishes(here) == ("each", True, True, False)


async def test_joining_by_command_asks_as_the_door_does(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS, [ADA])
        await say(here, "subscribe walkers Nina Newman", NEW)
        (question,) = here.inbox(NEW)
        assert here.members(group) == [ADA]
        await here.answer(NEW, question, "")
        await here.quiet()
        assert here.members(group) == [ADA, NEW]
        member = here.member(group, NEW)
        assert member is not None
        assert member.name == "Nina Newman"
        await say(here, "join", NEW)
        assert "You are a member of walkers <walkers@lists.example> already" in told(here, NEW)


async def test_leaving_by_command_is_at_once_with_a_farewell_only(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group, other = here.group(WALKERS, [ADA, BOB]), here.group(SAILING, [ADA])
        await say(here, "", subject="Re: unsubscribe")
        assert here.members(group) == [BOB]
        (farewell,) = here.inbox(ADA)
        assert read(farewell)["Subject"] == "You have left walkers"
        await say(here, "signoff *", to=LISTSERV)
        assert here.members(other) == []
        await here.answer(ADA, farewell, "")
        await here.quiet()
        assert here.members(group) == [ADA, BOB]


async def test_two_values_at_once_are_a_question_and_no_guess(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA])
        before = wishes(here)
        for text in ("set mode none mode each", "set nomail mail", "set language de language en copies no"):
            await say(here, text)
            assert "You have given two values for" in told(here)
            assert "not a member" not in told(here)
        assert wishes(here) == before
        # and who is in no group is told that, whatever else is wrong
        await say(here, "set nomail", NEW)
        assert "You are not a member" in told(here, NEW) or "in no group" in told(here, NEW)


async def test_nobody_acts_for_somebody_else(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS, [ADA, BOB])
        await say(here, f"unsubscribe {BOB}\nsubscribe walkers {EVE}")
        assert here.members(group) == [ADA, BOB]
        assert told(here).count("only for the mailbox it is written from") == 2
        await here.post(ADA, LISTSERV, f"unsubscribe walkers {BOB}\nsubscribe walkers {EVE}", "")
        await here.quiet()
        assert here.inbox(BOB) == here.inbox(EVE) == []
        assert len(here.inbox(ADA)) == 1


def rows(tx: Tx) -> list[object]:
    """Everything that is so of people and groups."""
    tables = (schema.accounts, schema.mailboxes, schema.subscriptions, schema.bans, schema.groups)
    return [tuple(row) for table in tables for row in tx.execute(table.select().order_by(*table.primary_key.columns))]


async def test_without_proof_no_command_changes_anything(url: str, folder: Path) -> None:
    lines = [
        *(
            "subscribe walkers Eve",
            "unsubscribe walkers",
            "signoff *",
            "nomail",
            "set walkers mode none",
            "set * nomail",
        ),
        *("set own posts no", "set copies no", "set visible yes", "set name Eve", "set region x", "set country x"),
        *("set language de", "address remove bob@b.example", f"address add {EVE}", f"address change {EVE}", "mydata"),
        *("end sessions", "who walkers", "which", "confirm abcdefghijklmnopqrstuvwxyz"),
    ]
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA, BOB])
        await say(here, f"address add {BOB}")
        await here.answer(BOB, here.notice(BOB), "")
        await here.quiet()
        before, mails = here.node.db.read_now(rows), len(here.inbox(ADA))
        for line in lines:
            for evidence in (FORGED, Evidence(Proof.UNKNOWN)):
                for door in (REQUEST, LISTSERV, "walkers-nomail@lists.example"):
                    await here.hand_in(door, mail(ADA, door, line, ""), evidence)
        await here.quiet()
        assert here.node.db.read_now(rows) == before
        assert len(here.inbox(ADA)) == mails + 1  # one question


async def test_only_from_says_who_commands(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS, [ADA, BOB])
        for fields in ({"Reply-To": ADA}, {"Sender": ADA}, {"Resent-From": ADA}):
            await here.hand_in(REQUEST, mail(EVE, REQUEST, "unsubscribe", "", **fields), GENUINE)
        for author in (f"{EVE}, {ADA}", f"{ADA} <{EVE}>", f"Ada: {ADA};", ""):
            await here.hand_in(REQUEST, mail(author, REQUEST, "unsubscribe\nend sessions", ""), GENUINE)
        await here.quiet()
        assert here.members(group) == [ADA, BOB]
        assert here.inbox(ADA) == []


async def test_a_tap_on_the_page_does_what_the_question_names(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA])
        await here.post(ADA, REQUEST, f"set mode none\naddress add {BOB}", "")
        await here.quiet()
        token = str(read(here.notice(ADA))["Reply-To"]).partition("+")[2].partition("@")[0]
        done = here.node.db.write_now(answer_on_page, here, token)
        await here.quiet()
        assert done == [Effect.DONE]
        assert wishes(here)[0] == "none"
        assert f"A question is on its way to {BOB}" in told(here)
        assert f"{BOB} and {ADA} mailboxes of one person" in told(here, BOB)


def answer_on_page(tx: Tx, here: House, token: str) -> list[Effect]:
    """As the page does it."""
    known = tokens.find(tx, tag.digest(token))
    assert known is not None
    result = confirming.answer(here.act(tx), known, Consent.YES, confirming.Answer())
    assert isinstance(result, confirming.Done)
    return [effect for _, effect in result.wishes]


async def test_who_names_those_who_allow_it_and_no_address_to_members_once_a_day(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA, BOB])
        await say(here, "set visible yes\nset name Bob Roberts\nset region Wales\nset country UK", BOB)
        await say(here, "who")
        assert "Bob Roberts, Wales, UK" in told(here)
        assert BOB not in told(here)
        assert "has 2 members; 1 allows to be named:" in told(here)
        await say(here, "review walkers", to=LISTSERV)
        assert "Once a day is enough" in told(here)
        await here.later(hours=25)
        await say(here, "who")
        assert "Bob Roberts" in told(here)
        await say(here, "who", EVE)
        assert "Only members are told" in told(here, EVE)


async def test_listserv_speaks_for_all_groups_and_names_what_is_missing(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA], title="Walkers", description="We walk on Sundays.")
        here.group(SAILING, [ADA])
        text = "info walkers\nset sailing nomail\nset mode none\nwho nobody\nlists\nindex walkers\nsubscrbe\nend\nhelp"
        await say(here, text, to="LISTSERV@lists.example")
        answer = told(here)
        assert "Walkers <walkers@lists.example>: 1 member. We walk on Sundays." in answer
        assert wishes(here, group=SAILING)[0] == "none"
        for said in (
            "Which group? Name it",
            "There is no group “nobody” here.",
            "Groups are not listed here yet.",
            "“index” does not exist here.",
            "Did you mean “subscribe”?",
            "Commands go to listserv@lists.example",
        ):
            assert said in answer
        assert read(here.notice(ADA))["From"].addresses[0].addr_spec == LISTSERV


async def test_a_stranger_is_told_how_things_work_and_no_more(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA])
        await here.post(EVE, LISTSERV, "help", "")
        await here.post(EVE, LISTSERV, "lists", "")
        await here.quiet()
        assert len(here.inbox(EVE)) == 1
        assert "address change ADDRESS" in words(here.notice(EVE))
        await say(
            here, "which\nmydata\nset nomail\nend sessions\naddress remove x@x.example", "new@n.example", LISTSERV
        )
        assert told(here, "new@n.example").count("is in no group here") == 5


async def test_robots_command_nothing_and_get_no_answer(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS, [ADA])
        for fields in ({"Auto-Submitted": "auto-replied"}, {"List-Id": "x <x.y>"}, {"Precedence": "bulk"}):
            content = mail(ADA, REQUEST, "unsubscribe\nhelp", "", **fields)
            assert (await here.hand_in(REQUEST, content, GENUINE)).startswith("250")
        await here.quiet()
        assert here.inbox(ADA) == []
        assert here.members(group) == [ADA]


async def test_our_own_answer_sent_back_by_a_robot_ends_there(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA])
        await say(here, "help")
        await here.answer(ADA, here.notice(ADA), "I am away", **{"Auto-Submitted": "auto-replied"})
        await here.quiet()
        assert len(here.inbox(ADA)) == 1


async def test_the_doors_mail_and_nomail_set_the_delivery_and_digest_says_not_yet(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS, [ADA, BOB])
        await say(here, "whatever", to="walkers-nomail@lists.example")
        assert here.members(group) == [BOB]
        assert "posts: none" in told(here)
        await here.post(ADA, "walkers+MAIL@lists.example")
        await here.quiet()
        assert here.members(group) == [BOB]
        await here.answer(ADA, here.notice(ADA), "")
        await here.quiet()
        assert here.members(group) == [ADA, BOB]
        assert (await here.post(ADA, "walkers-digest@lists.example")).startswith("550 5.3.3 there are no digests yet")


async def test_a_token_in_a_mail_of_commands_counts_as_a_reply(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS, [ADA])
        await here.post(NEW, "walkers-subscribe@lists.example")
        await here.quiet()
        token = str(read(here.notice(NEW))["Reply-To"]).partition("+")[2].partition("@")[0]
        reply = await here.post(NEW, LISTSERV, "Thanks", f"Re: confirm {token}")
        await here.quiet()
        assert reply.startswith("250")
        assert here.members(group) == [ADA, NEW]
        assert (await here.post(NEW, REQUEST, "confirm abcdefghijklmnopqrstuvwxyz", "")).startswith("550 5.1.1")


async def test_answers_are_in_the_language_one_has_set(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA])
        await say(here, "set language klingon")
        assert "For language there is: de, en" in told(here)
        await say(here, "set language de\nwhich")
        assert "Erledigt, in allen Gruppen: Sprache: Deutsch" in told(here)
        assert "Deine Postfächer: ada@a.example." in told(here)


async def test_a_flood_of_commands_is_put_off(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA])
        replies = [await here.hand_in(REQUEST, mail(ADA, REQUEST, "which"), GENUINE) for _ in range(15)]
        assert sum(reply.startswith("250") for reply in replies) == 10
        assert replies[-1].startswith("450 4.7.1")
        await here.quiet()
        assert len(here.inbox(ADA)) == 10


async def test_a_responder_that_hides_is_answered_once(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA])
        await say(here, "which")
        for _ in range(3):
            await say(
                here, "I have moved to the country.\nMy cat reads my mail.", subject="Re: What became of your commands"
            )
            await say(here, "")
        assert len(here.inbox(ADA)) == 2
        assert told(here).count("Not understood.") == 2


async def test_who_cannot_join_hears_so_where_smtp_can_say_it(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA], joining="closed")
        assert (await here.post(NEW, REQUEST, "subscribe digest", "")).startswith("550 5.7.1")
        await say(here, "subscribe", NEW)
        assert "People join walkers <walkers@lists.example> by invitation." in told(here, NEW)
        assert (await here.post(ADA, LISTSERV, "subscribe walkers", "")).startswith("550 5.7.1")


async def test_all_that_is_held_about_a_person_goes_to_his_mailbox(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        here.group(WALKERS, [ADA], moderated=True)
        await here.post(ADA, WALKERS, subject="My secret plan")
        await say(here, "set name Ada\nmy data", to=LISTSERV)
        first, second = here.inbox(ADA)[-2:]
        data = first if read(first)["Subject"] == "All that is held about you" else second
        assert "name: Ada" in words(data)
        assert "My secret plan" in words(data)
        (file,) = read(data).iter_attachments()
        assert file.get_filename() == "mydata.json"
        assert "How your memberships came about" in words(data)
        document = json.loads(file.get_content())
        assert document["account"]["name"] == "Ada"
        assert document["subscriptions"][0]["group"] == WALKERS
        assert document["mailboxes"][0]["address"] == ADA
        # in nobody's name who is not proven without his yes, and to nobody who is unknown here
        await here.post(BOB, LISTSERV, "mydata", "")
        await here.quiet()
        assert here.inbox(BOB) == []
        here.group("riders@lists.example", [BOB])
        await here.post(BOB, LISTSERV, "mydata", "")
        await here.quiet()
        assert len(here.inbox(BOB)) == 1
        assert "carry out: mydata" in told(here, BOB)


async def test_one_of_many_at_once_is_mode_of_the_one_group(url: str, folder: Path) -> None:
    async with house(url, folder) as here:
        group = here.group(WALKERS, [ADA])
        await say(here, "nomail", to=LISTSERV)
        member = here.member(group, ADA)
        assert member is not None
        assert member.mode is Mode.NONE
