"""Every command works beside a running daemon, which acts on it without a restart."""

import asyncio
from pathlib import Path

from tests.cli.shell import Shell
from tests.kit.house import house, mail


async def test_what_the_shell_says_holds_at_once(folder: Path, keys: Path, url: str) -> None:
    shell = Shell.at(folder, url, keys)

    async def run(*args: str) -> str:
        return await asyncio.to_thread(shell.ok, *args)

    async with house(url, folder, site={"domains": ["lists.example", "other.example"]}) as here:
        # a group that the daemon has never heard of
        group = "sailing@lists.example"
        assert (await here.post("bob@b.example", group)).startswith("550 5.1.1")
        await run("group", "create", group, "--owner", "ada@a.example")
        assert (await here.post("bob@b.example", group)).startswith("550 5.7.1")

        # a member, by SMTP and from the shell
        await run("member", "add", group, "bob@b.example", "--confirmed")
        assert (await here.post("bob@b.example", group)).startswith("250 2.0.0 accepted as post 1")
        await run("post", group, shell.file("m.eml", mail("bob@b.example", group, subject="By hand")))
        await here.world.wait_for(2)
        assert any(b"Subject: By hand" in copy for copy in here.inbox("bob@b.example"))

        # moderation, decided from the shell
        await run("group", "set", group, "moderated=yes")
        assert "held for the admins" in await here.post("bob@b.example", group, subject="Wait")
        await here.quiet()
        (held,) = here.held()
        await run("hold", "approve", str(held.id))
        await here.quiet()
        assert any(b"Subject: Wait" in copy for copy in here.inbox("bob@b.example"))

        # an invitation goes out and nobody is in before it is answered
        await run("member", "add", group, "cy@c.example")
        await here.quiet()
        assert len(here.inbox("cy@c.example")) == 1
        assert [row["address"] for row in await asyncio.to_thread(shell.json, "member", "list", group)] == [
            "ada@a.example",
            "bob@b.example",
        ]

        # gone is gone
        await run("group", "delete", group, "--yes")
        assert (await here.post("bob@b.example", group)).startswith("550 5.1.1")
