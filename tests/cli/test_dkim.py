"""DKIM keys from the shell: shown, changed in two steps, and a daemon that follows."""

import os
import re
from pathlib import Path

import dkim
import pytest

from listserv import keyring
from listserv.keyring import successor
from tests.cli.shell import Shell
from tests.kit.house import house
from tests.kit.nameserver import Nameserver, nameserver


def use(shell: Shell, dns: Nameserver) -> None:
    path = Path(shell.config)
    path.write_text(f'{path.read_text()}\n[dns]\nservers = ["127.0.0.1:{dns.port}"]\ntimeout_seconds = 1\n')


def zone(shell: Shell) -> dict[tuple[str, str], list[str]]:
    """What the operator publishes: the lines of `dkim show`, as a name server reads them."""
    lines = re.findall(r"^(\S+)\. IN TXT \( (.*) \)$", shell.ok("dkim", "show"), re.MULTILINE)
    return {(name, "TXT"): [data] for name, data in lines}


def test_the_keys_are_shown_with_their_records(shell: Shell) -> None:
    first, second = shell.json("dkim", "show")
    assert [first[name] for name in ("domain", "selector", "name", "state")] == [
        "lists.example", "ls1", "ls1._domainkey.lists.example", "signing",
    ]  # fmt: skip
    assert first["record"].startswith("v=DKIM1; k=rsa; p=MII")
    assert second["domain"] == "other.example"


def test_rotation_goes_in_two_steps_with_the_dns_in_between(shell: Shell) -> None:
    with nameserver() as dns:
        use(shell, dns)
        assert "no new key" in shell.fails("dkim", "rotate", "--activate")[0]
        assert "ls2._domainkey.lists.example" in shell.ok("dkim", "rotate", "lists.example")
        states = {(key["domain"], key["selector"]): key["state"] for key in shell.json("dkim", "show")}
        assert states[("lists.example", "ls1")] == "signing"
        assert states[("lists.example", "ls2")] == "new"
        before = shell.json("dkim", "rotate", "lists.example")  # a second time it is the same key
        assert before[0]["record"] == shell.json("dkim", "show")[1]["record"]
        assert "has no record yet" in shell.fails("dkim", "rotate", "lists.example", "--activate")[0]
        dns.records[("ls2._domainkey.lists.example", "TXT")] = ['"v=DKIM1; k=rsa; p=MIIB"']
        assert "has another record" in shell.fails("dkim", "rotate", "lists.example", "--activate")[0]
        dns.silent = True
        assert "no answer" in shell.fails("dkim", "rotate", "lists.example", "--activate")[0]
        dns.silent = False
        dns.records = zone(shell)
        assert shell.ok("dkim", "rotate", "lists.example", "--activate").startswith("ls2 signs for lists.example")
        states = {(key["domain"], key["selector"]): key["state"] for key in shell.json("dkim", "show")}
        assert states == {
            ("lists.example", "ls1"): "old", ("lists.example", "ls2"): "signing", ("other.example", "ls1"): "signing",
        }  # fmt: skip


def test_all_domains_or_none_are_activated(shell: Shell) -> None:
    shell.ok("dkim", "rotate", "lists.example")
    shell.fails("dkim", "rotate", "--activate", "--force")
    assert [key["state"] for key in shell.json("dkim", "show")] == ["signing", "new", "signing"]
    shell.ok("dkim", "rotate", "lists.example", "--activate", "--force")
    assert [key["state"] for key in shell.json("dkim", "show")] == ["old", "signing", "signing"]


def test_only_our_own_domains_have_keys(shell: Shell) -> None:
    assert "none of our domains" in shell.fails("dkim", "rotate", "elsewhere.example")[0]
    assert shell.run("dkim", "rotate", "--force").exit_code == 2


async def test_a_running_daemon_signs_with_the_new_key_from_its_next_post_on(shell: Shell) -> None:
    async with house("sqlite:///listserv.db", shell.folder) as here:
        here.group("walkers@lists.example", ["ada@a.example"])
        for _ in range(2):
            await here.post("ada@a.example", "walkers@lists.example")
            await here.quiet()
            shell.ok("dkim", "rotate", "lists.example")
            shell.ok("dkim", "rotate", "lists.example", "--activate", "--force")
        published = {key["name"] + ".": key["record"].encode() for key in shell.json("dkim", "show")}
        first, second = here.inbox("ada@a.example")
        assert b"s=ls1;" in first
        assert b"s=ls2;" in second
        for copy in (first, second):
            assert dkim.verify(copy, dnsfunc=lambda name, timeout=5: published.get(name.decode()))


def test_a_selector_changed_in_the_configuration_is_obeyed(tmp_path: Path) -> None:
    old = keyring.open(tmp_path / "dkim", ["lists.example"], "ls1")
    old.begin_rotation("lists.example")
    old.activate("lists.example")
    assert old.signers["lists.example"].selector == "ls2"
    assert keyring.open(tmp_path / "dkim", ["lists.example"], "winter").signers["lists.example"].selector == "winter"
    assert keyring.open(tmp_path / "dkim", ["lists.example"], "ls1").signers["lists.example"].selector == "ls2"
    assert old.names == {("lists.example", name) for name in ("ls1", "ls2", "winter")}


def test_a_key_that_cannot_be_read_leaves_the_daemon_with_the_one_it_has(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = keyring.open(tmp_path / "dkim", ["lists.example"], "ls1")
    new = keys.begin_rotation("lists.example")
    keys.activate("lists.example")
    new.path.chmod(0o644)
    assert keys.signers["lists.example"].selector == "ls1"
    assert "chmod 0600" in caplog.text
    new.path.chmod(0o600)
    assert keys.signers["lists.example"].selector == "ls2"


def test_a_key_that_others_may_read_is_one_line(shell: Shell) -> None:
    path = shell.folder / "dkim" / "lists.example" / "ls1.pem"
    path.chmod(0o644)
    [line] = shell.fails("dkim", "show")
    assert line == f"Error: {path} can be read by others; chmod 0600 it"


def test_keys_are_for_their_owner_only_and_no_half_file_stays(tmp_path: Path) -> None:
    keys = keyring.open(tmp_path / "dkim", ["lists.example"], "ls1")
    keys.begin_rotation("lists.example")
    files = sorted(path.name for path in (tmp_path / "dkim" / "lists.example").iterdir())
    assert files == ["ls1.pem", "ls2.pem"]
    for name in files:
        assert os.stat(tmp_path / "dkim" / "lists.example" / name).st_mode & 0o777 == 0o600  # noqa: PTH116


@pytest.mark.parametrize(
    ("selector", "next_one"), [("ls1", "ls2"), ("ls9", "ls10"), ("mail", "mail2"), ("2026", "2027"), ("a1b", "a1b2")]
)
def test_the_next_selector_counts_on(selector: str, next_one: str) -> None:
    assert successor(selector) == next_one
