"""`listserv check`: what is right, what is wrong, and how to mend it."""

import asyncio
import json
import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from sqlalchemy import make_url

from listserv import supervisor
from listserv.cli import checkup
from listserv.cli.checkup import Status
from listserv.cli.main import main
from listserv.roles import Role, locked
from listserv.settings import Settings
from listserv.supervisor import Kept
from tests.cli.beside import daemon
from tests.cli.shell import Shell
from tests.kit.house import house
from tests.kit.nameserver import Nameserver, nameserver
from tests.kit.postgres import Postgres
from tests.kit.world import World


def configure(shell: Shell, text: str) -> None:
    path = Path(shell.config)
    path.write_text(f"{path.read_text()}\n{text}\n")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
def ready(shell: Shell) -> Shell:
    """Ports of its own, so that nobody else's daemon is met."""
    configure(shell, f'[smtp]\nlisten = ["127.0.0.1:{free_port()}"]\n[http]\nlisten = ["127.0.0.1:{free_port()}"]')
    return shell


@pytest.fixture
def dns(ready: Shell) -> Iterator[Nameserver]:
    with nameserver() as here:
        configure(ready, f'[dns]\nservers = ["127.0.0.1:{here.port}"]\ntimeout_seconds = 1')
        yield here


def found(shell: Shell, *args: str) -> dict[str, dict[str, Any]]:
    """What was looked at → how it is."""
    result = shell.run("check", "--json", *args)
    findings = json.loads(result.stdout)
    assert result.exit_code == any(each["status"] == "wrong" for each in findings)
    return {each["what"]: each for each in findings}


async def checked(shell: Shell, *args: str) -> dict[str, dict[str, Any]]:
    return await asyncio.to_thread(found, shell, *args)


def test_a_process_that_dies_again_and_again_is_named(tmp_path: Path) -> None:
    settings, now = Settings.default(tmp_path), datetime.now(UTC)
    dead = (now.timestamp() - 400, now.timestamp() - 200, now.timestamp() - 1)
    said = [Kept("main process", 7), Kept("delivery process 1", 8, dead[1:], "by SIGSEGV")]
    said.append(Kept("delivery process 2", 9, dead, "by SIGKILL"))
    supervisor.file(tmp_path, Role.ALL).write_bytes(msgspec.json.encode(said))
    assert list(checkup.processes(settings, now)) == []  # nobody runs: that file is old
    with locked(tmp_path, Role.ALL):
        main, first, second = checkup.processes(settings, now)
        assert (main.status, first.status, second.status) == (Status.OK, Status.OK, Status.WRONG)
        assert "delivery process 2 ended 3 times in the last 10 minutes, last by SIGKILL" in second.detail
        assert all(found.status is Status.OK for found in checkup.processes(settings, now + timedelta(minutes=10)))


async def test_a_house_in_order_is_ok_in_every_line(ready: Shell) -> None:
    async with World() as world:
        configure(ready, f'[relay]\nhost = "{world.host}"\nport = {world.port}\ntls = "none"')
        result = await asyncio.to_thread(ready.run, "check", "--no-dns")
        assert result.exit_code == 0, result.output
        lines = result.stdout.splitlines()
        assert {line[:8] for line in lines} == {"ok      ", "not yet "}
        assert any("synchronous=FULL" in line for line in lines)
        assert any(line.startswith("ok      [relay]") and "PIPELINING" in line for line in lines)
        assert any(line.startswith("not yet [relay] mode:") for line in lines)


def test_every_fault_of_the_configuration_is_a_line(shell: Shell) -> None:
    configure(shell, "[smtp]\nmax_recipients = 0\nlisten = 5\n[nonsense]")
    result = shell.run("check")
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 3
    assert all(line.startswith("WRONG   configuration: ") for line in result.stdout.splitlines())


def test_without_a_relay_the_line_says_so(ready: Shell) -> None:
    configure(ready, f'[relay]\nhost = "127.0.0.1"\nport = {free_port()}')
    assert "Connection refused" in found(ready, "--no-dns")["[relay]"]["detail"]


async def test_a_relay_without_tls_is_wrong_where_tls_is_required(ready: Shell) -> None:
    async with World() as world:
        configure(ready, f'[relay]\nhost = "{world.host}"\nport = {world.port}\ntls = "required"')
        relay = (await checked(ready, "--no-dns"))["[relay]"]
        assert relay["status"] == "wrong"
        assert "no STARTTLS" in relay["detail"]


def test_a_port_that_another_program_has_is_wrong(ready: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        configure(ready, f'[lmtp]\nlisten = ["127.0.0.1:{port}"]')
        line = found(ready, "--no-dns")["[lmtp] listen"]
        assert line["status"] == "wrong"
        assert "taken by another program" in line["detail"]


async def test_a_port_that_our_daemon_has_is_ok(shell: Shell) -> None:
    port = free_port()
    configure(shell, f'[smtp]\nlisten = ["127.0.0.1:{port}"]')
    async with house("sqlite:///listserv.db", shell.folder, smtp={"listen": [f"127.0.0.1:{port}"]}):
        line = (await checked(shell, "--no-dns"))["[smtp] listen"]
        assert (line["status"], "the daemon is listening" in line["detail"]) == ("ok", True)
    line = (await checked(shell, "--no-dns"))["[smtp] listen"]
    assert "is free" in line["detail"]


def test_records_that_are_missing_are_printed_as_they_should_be(ready: Shell, dns: Nameserver) -> None:
    dns.records = {("elsewhere.example", "A"): ["192.0.2.1"]}
    lines = found(ready)
    assert lines["DNS lists.example"]["mend"] == "publish: lists.example. IN A <our address>"
    assert lines["DNS MX lists.example"]["mend"] == "publish: lists.example. IN MX 10 lists.example."
    assert lines["DNS SPF lists.example"]["mend"] == 'publish: lists.example. IN TXT "v=spf1 mx ~all"'
    assert lines["DNS DMARC lists.example"]["mend"] == 'publish: _dmarc.lists.example. IN TXT "v=DMARC1; p=none"'
    assert "p=MII" in lines["DNS DKIM ls1._domainkey.lists.example"]["mend"]
    assert {line["status"] for what, line in lines.items() if what.startswith("DNS")} == {"wrong"}


def test_records_as_they_should_be_are_ok(ready: Shell, dns: Nameserver) -> None:
    dns.records[("lists.example", "A")] = ["192.0.2.1"]
    for key in ready.json("dkim", "show"):
        domain, record = key["domain"], key["record"]
        dns.records[(domain, "MX")] = ["20 mx2.example.", "10 mx1.example."]
        dns.records[(domain, "TXT")] = ['"verification=1"', '"v=spf1 mx -all"']
        dns.records[(f"_dmarc.{domain}", "TXT")] = ['"v=DMARC1; p=reject"']
        dns.records[(key["name"], "TXT")] = [f'"{record[:200]}" "{record[200:]}"']
    lines = found(ready)
    assert {line["status"] for what, line in lines.items() if what.startswith("DNS")} == {"ok"}
    assert lines["DNS MX lists.example"]["detail"] == "10 mx1.example, 20 mx2.example"
    assert lines["[dns]"]["detail"] == f"127.0.0.1:{dns.port} answers"
    dns.records[("lists.example", "TXT")].append('"v=spf1 -all"')
    dns.records[("ls1._domainkey.lists.example", "TXT")] = ['"v=DKIM1; p=other"']
    lines = found(ready)
    assert "more than one SPF record" in lines["DNS SPF lists.example"]["detail"]
    assert lines["DNS DKIM ls1._domainkey.lists.example"]["detail"] == "another key is published"


def test_a_silent_dns_is_said_within_its_time(ready: Shell, dns: Nameserver) -> None:
    dns.silent = True
    lines = found(ready)
    assert lines["DNS MX lists.example"]["detail"] == "no answer from the DNS within 1 s"
    assert lines["[dns]"]["detail"] == f"127.0.0.1:{dns.port}: no answer from the DNS within 1 s"


def test_a_key_that_others_may_read_is_wrong(ready: Shell) -> None:
    (ready.folder / "dkim" / "lists.example" / "ls1.pem").chmod(0o644)
    line = found(ready, "--no-dns")["DKIM keys"]
    assert line["status"] == "wrong"
    assert "chmod 0600" in line["detail"]


def test_a_database_of_a_newer_program_is_wrong(ready: Shell) -> None:
    ready.ok("db", "upgrade")
    database = sqlite3.connect(ready.folder / "listserv.db")
    with database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    line = found(ready, "--no-dns")["database"]
    assert line["mend"] == "run the newer listserv"


async def test_a_copy_that_vanished_is_missed(shell: Shell) -> None:
    async with daemon(shell) as here:
        here.group("walkers@lists.example", ["ada@a.example", "bob@b.example"])
        await here.post("ada@a.example", "walkers@lists.example")
        await here.quiet()
    lines = await checked(shell, "--no-dns")
    assert lines["conservation of posts"]["detail"] == "1 came in: 1 distributed"
    assert lines["conservation of copies"]["detail"] == "2 came in: 2 delivered"
    database = sqlite3.connect(shell.folder / "listserv.db")
    with database:
        database.execute("DELETE FROM deliveries WHERE recipient = 'bob@b.example'")
    database.close()
    line = (await checked(shell, "--no-dns"))["conservation of copies"]
    assert (line["status"], line["detail"]) == ("wrong", "2 came in: 1 delivered; 1 missing")


def test_a_database_that_cannot_be_reached_is_wrong(ready: Shell) -> None:
    path = Path(ready.config)
    url = f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/x"
    path.write_text(path.read_text().replace("sqlite:///listserv.db", url))
    line = found(ready, "--no-dns")["database"]
    assert line["status"] == "wrong"
    assert "refused" in line["detail"]


def test_certificate_and_key_have_to_be_of_one_pair(ready: Shell) -> None:
    ready.file("cert.pem", "nonsense")
    path = Path(ready.config)
    path.write_text(path.read_text().replace("[smtp]\n", '[smtp]\ntls_cert = "cert.pem"\ntls_key = "cert.pem"\n'))
    (path.parent / "cert.pem").chmod(0o640)
    assert found(ready, "--no-dns")["[smtp] tls_cert"]["status"] == "wrong"


def test_a_secret_that_everybody_may_read_is_wrong(ready: Shell) -> None:
    for name in ("key.pem", "word"):
        ready.file(name, "nonsense")
        (Path(ready.config).parent / name).chmod(0o644)
    path = Path(ready.config)
    path.write_text(path.read_text().replace("[smtp]\n", '[smtp]\ntls_cert = "key.pem"\ntls_key = "key.pem"\n'))
    configure(ready, '[relay]\nhost = "127.0.0.2"\nport = 1\nusername = "a"\npassword_file = "word"\ntls = "required"')
    seen = found(ready, "--no-dns")
    for what in ("[smtp] tls_key", "[relay] password_file"):
        assert seen[what]["status"] == "wrong"
        assert "can be read by everybody" in seen[what]["detail"]


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg://u:canary@127.0.0.1:1/x", "postgresql+psycopg://127.0.0.1:1/x?password=canary"]
)
def test_a_configuration_with_a_password_that_everybody_may_read_is_wrong(ready: Shell, url: str) -> None:
    path = Path(ready.config)
    path.chmod(0o644)
    assert found(ready, "--no-dns")["configuration"]["status"] == "ok"
    path.write_text(path.read_text().replace("sqlite:///listserv.db", url))
    result = ready.run("check", "--no-dns")
    assert f"WRONG   configuration: {path} holds the database's password and can be read by everybody" in result.stdout
    assert "canary" not in result.stdout + result.stderr
    path.chmod(0o640)
    assert found(ready, "--no-dns")["configuration"]["status"] == "ok"


def test_a_clock_that_was_set_back_is_wrong() -> None:
    now = datetime(2026, 11, 22, 10, tzinfo=UTC)
    assert checkup.clock(now, now - timedelta(days=3)).status is Status.OK
    assert checkup.clock(now, None).status is Status.OK
    assert checkup.clock(now, now + timedelta(minutes=5)).status is Status.WRONG


@contextmanager
def as_somebody_else() -> Iterator[None]:
    """Whoever is root is nobody for a while: root may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def test_where_we_may_not_look_each_fault_is_a_line_with_its_remedy(ready: Shell) -> None:
    with TemporaryDirectory() as there:  # pytest's own folders are closed to others
        folder = Path(there)
        folder.chmod(0o755)
        closed = folder / "closed"
        closed.mkdir()
        config = folder / "listserv.toml"
        config.write_text(Path(ready.config).read_text().replace("[site]\n", '[site]\ndata_dir = "closed/data"\n'))
        place = ["--config", str(config), "check", "--no-dns", "--json"]
        CliRunner().invoke(main, place, catch_exceptions=False)  # and everything is loaded
        closed.chmod(0)
        with as_somebody_else():
            said = CliRunner().invoke(main, place, catch_exceptions=False)
        closed.chmod(0o700)
    lines = {each["what"]: each for each in json.loads(said.stdout)}
    for what in ("data_dir", "database", "DKIM keys"):
        assert lines[what]["status"] == "wrong"
        assert "daemon's user" in lines[what]["mend"]


@pytest.mark.parametrize(
    ("url", "mend"),
    [
        ("sqlite:////proc/listserv.db", "its folder has to be there"),
        ("sqlite:///listserv.toml", "this file is something else"),
    ],
)
def test_a_database_file_that_cannot_be_used_is_mended_as_a_file(ready: Shell, url: str, mend: str) -> None:
    path = Path(ready.config)
    path.write_text(path.read_text().replace("sqlite:///listserv.db", url))
    line = found(ready, "--no-dns")["database"]
    assert line["status"] == "wrong"
    assert line["mend"].startswith(mend)


@pytest.mark.parametrize("fault", ["disk I/O error", "database or disk is full"])
def test_a_full_disk_is_mended_by_room(fault: str) -> None:
    assert checkup.remedy(make_url("sqlite:///listserv.db"), fault).startswith("make room on its disk")


def test_a_database_that_is_not_there_is_to_be_made(ready: Shell, server: Postgres) -> None:
    path = Path(ready.config)
    path.write_text(path.read_text().replace("sqlite:///listserv.db", server.url("nowhere")))
    line = found(ready, "--no-dns")["database"]
    assert line["status"] == "wrong"
    assert "createdb" in line["mend"]


def test_keys_that_cannot_be_read_are_named_in_words(ready: Shell) -> None:
    key = ready.folder / "dkim" / "lists.example" / "ls1.pem"
    key.unlink()
    key.mkdir(mode=0o700)
    line = found(ready, "--no-dns")["DKIM keys"]
    assert line["detail"] == f"{key}: Is a directory"
    assert line["mend"] == f"{ready.folder / 'dkim'} and what is in it have to belong to the daemon's user"


def test_a_configuration_that_is_not_there_is_to_be_made(ready: Shell) -> None:
    Path(ready.config).unlink()
    line = found(ready)["configuration"]
    assert line["mend"] == "`listserv init` makes one, or name another with --config PATH"
