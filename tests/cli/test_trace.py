"""The trace of one message from the shell: hops, decisions, copies."""

from tests.cli.beside import daemon
from tests.cli.shell import Shell
from tests.kit.house import mail

GROUP = "walkers@lists.example"
HOPS = (
    "from mx.a.example (mx.a.example [192.0.2.7]) by mail.a.example; Sun, 22 Nov 2026 10:00:05 +0100\r\n"
    "Received: from laptop (unknown) by mx.a.example; Sun, 22 Nov 2026 09:00:00 +0000"
)


async def test_a_trace_has_the_hops_then_what_we_did_then_every_copy(shells: Shell) -> None:
    async with daemon(shells) as here:
        here.group(GROUP, ["ada@a.example", "bob@b.example"])
        here.world.answers["bob@b.example"] = "452 4.2.2 mailbox full"
        post = mail("ada@a.example", GROUP, Message_ID="<1@a.example>", Received=HOPS)
        await here.send("ada@a.example", GROUP, post)
        await here.quiet()
        traced = shells.json("trace", "1@a.example")
        assert traced == shells.json("trace", "<1@a.example>")
        assert traced["message_id"] == "<1@a.example>"
        whats = [event["what"] for event in traced["events"]]
        assert whats[:2] == ["hop", "hop"]
        assert set(whats[2:]) >= {"received", "accepted", "distributed"}
        assert traced["events"][0]["at"] == "2026-11-22T09:00:00Z"  # the first hop first
        assert traced["events"][1]["detail"].startswith("from mx.a.example")
        copies = traced["deliveries"]
        assert copies["ada@a.example"]["state"] == "sent"
        assert copies["ada@a.example"]["reply"].startswith("250")
        assert (copies["bob@b.example"]["state"], copies["bob@b.example"]["tries"]) == ("due", 1)
        assert copies["bob@b.example"]["due"] > traced["events"][-1]["at"]
        said = shells.ok("trace", "1@a.example")
        assert "post 1 of walkers@lists.example" in said
        assert "452 4.2.2 mailbox full" in said


async def test_a_trace_names_who_decided_on_a_hold(shells: Shell) -> None:
    async with daemon(shells) as here:
        here.group(GROUP, ["ada@a.example"], moderated=True)
        await here.post("ada@a.example", GROUP, Message_ID="<2@a.example>")
        await here.quiet()
        await here.answer("owner@o.example", here.notice("owner@o.example"), "approve")
        await here.quiet()
        traced = shells.json("trace", "2@a.example")
        [hold] = traced["holds"]
        assert (hold["state"], hold["by"], hold["group"]) == ("approved", "owner@o.example", GROUP)
        assert {"held", "approved"} <= {event["what"] for event in traced["events"]}
        assert "approved by owner@o.example" in shells.ok("trace", "2@a.example")


async def test_a_rejected_message_has_a_trace_too(shells: Shell) -> None:
    async with daemon(shells) as here:
        here.group(GROUP, ["ada@a.example"])
        assert (await here.post("eve@e.example", GROUP, Message_ID="<3@e.example>")).startswith("550")
        traced = shells.json("trace", "3@e.example")
        assert [event["what"] for event in traced["events"]] == ["rejected"]
        assert traced["deliveries"] == {}


def test_an_unknown_message_is_one_line(shell: Shell) -> None:
    [line] = shell.fails("trace", "nobody@knows.example")
    assert line.startswith("Error: nothing is known of <nobody@knows.example>")
    assert shell.run("trace").exit_code == 2


async def test_a_trace_says_what_a_refusal_was_about(shells: Shell) -> None:
    async with daemon(shells) as here:
        here.group(GROUP, ["ada@a.example", "bob@b.example", "cy@c.example", "dan@d.example"])
        here.world.answers |= {
            "bob@b.example": "550 5.7.26 not accepted due to domain's DMARC policy",
            "cy@c.example": "550 5.1.1 User unknown",
            "dan@d.example": "552 5.2.2 mailbox full",
        }
        await here.send("ada@a.example", GROUP, mail("ada@a.example", GROUP, Message_ID="<1@a.example>"))
        await here.quiet()
        traced = shells.json("trace", "1@a.example")
        assert traced["charged"] == {"mailbox": 1, "message": 1}
        assert {to: copy["charged_to"] for to, copy in traced["deliveries"].items()} == {
            "ada@a.example": None,
            "bob@b.example": "message",
            "cy@c.example": "mailbox",
            "dan@d.example": "nobody",
        }
        said = shells.ok("trace", "1@a.example")
        assert "refused as a message, by policy or content: 1" in said
        assert "charged to mailboxes that are not there: 1" in said
