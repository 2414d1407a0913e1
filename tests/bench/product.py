"""listserv as an operator runs it: its own commands make the groups and load the members, `listserv run` delivers.

Members are loaded once for each number of them and each engine; every run begins with a copy of that database.

Unsigned copies: a daemon has keys for the domains of its configuration, and makes a key that is missing.  So a process
of role smtp whose configuration names the group's domain takes the post, and one of role delivery whose configuration
does not name it, and which has no key of it, delivers.  They share the database.

Intake: role smtp alone, so that what is accepted waits; role delivery before, for the warm-up, and afterwards.
"""

import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from listserv.mail import signature
from listserv.settings import Faults, Settings
from tests.bench import usage
from tests.bench.case import Case, Scenario
from tests.bench.crowd import DOMAIN, GROUP, OWNER, WARM, Crowd
from tests.bench.load import Door
from tests.bench.program import Failed, Running, call, free_port
from tests.bench.usage import Account
from tests.kit import postgres
from tests.kit.postgres import Postgres
from tests.kit.process import environment, toml

ROOT = Path(__file__).parents[2]
LISTSERV = (sys.executable, "-m", "listserv", "--config")
STARTED = 120.0  # seconds that it may take until it is ready
STOPPED = 40.0  # seconds that a daemon may take to end
BROKEN = (" ERROR ", "Traceback")  # what a daemon's log must not have


@dataclass(frozen=True, slots=True)
class Prepared:
    """A data folder and a database with all members in it."""

    data: Path
    url: str

    @property
    def record(self) -> str:
        """The DKIM record of the key that signs."""
        return signature.dns_record(signature.load_key((self.data / "dkim" / DOMAIN / "ls1.pem").read_bytes()))


@dataclass(slots=True)
class Product:
    """PostgreSQL is started when the first case asks for it, and ends with `stack`."""

    folder: Path
    stack: ExitStack
    dns: int  # the port of the name server that answers for the authors
    server: Postgres | None = None
    account: Account | None = None  # of that server
    prepared: dict[tuple[str, int], Prepared] = field(default_factory=dict)
    number: int = 0

    @contextmanager
    def running(self, case: Case, folder: Path, sink: int) -> Iterator[Running]:
        self.number += 1
        data, url = self._fresh(case, folder)
        door = Door(free_port())
        account = usage.open_account("listserv")
        with ExitStack() as stack:
            if case.engine == "postgresql" and self.server:
                stack.callback(self.server.drop, url)
            stack.callback(account.close)
            delivery = stack.enter_context(ExitStack())
            for role, domain in _roles(case):
                config = data / f"{role}.toml"
                workers = {"receivers" if case.scenario is Scenario.INTAKE else "processes": case.processes}
                config.write_text(self._config(url, domain, door.port, sink, case.authenticate, workers))
                daemon = _daemon(account, config, role)
                (delivery if role == "delivery" else stack).enter_context(daemon)
            start = partial(_daemon, account, data / "delivery.toml", "delivery")
            database = self.account if case.engine == "postgresql" else None
            yield Running(door, account, delivery.close, lambda: delivery.enter_context(start()), database)

    def prepare(self, engine: str, members: int) -> Prepared:
        """Made by the product's own commands, once."""
        made = self.prepared.get((engine, members))
        if made is None:
            made = self.prepared[engine, members] = self._prepare(engine, members)
        return made

    def _prepare(self, engine: str, members: int) -> Prepared:
        data = self.folder / f"{engine}-{members}"
        data.mkdir()
        url = self._database(f"prepared{members}") if engine == "postgresql" else "sqlite:///listserv.db"
        config, crowd = data / "listserv.toml", Crowd(members)
        config.write_text(self._config(url, DOMAIN, free_port(), free_port()))
        for group, people in ((GROUP, crowd.members), (WARM, crowd.members[:1])):
            file = data / "people"
            file.write_text("".join(f"{member}\n" for member in people))
            shell(config, "group", "create", group, "--owner", OWNER)
            shell(config, "member", "import", group, str(file), "--confirmed")
        if engine == "postgresql":
            with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
                connection.execute("VACUUM ANALYZE")  # as its autovacuum would have done by the time somebody posts
        return Prepared(data, url)

    def _fresh(self, case: Case, folder: Path) -> tuple[Path, str]:
        """A copy of the prepared folder and database; the group's style is that of the case."""
        prepared = self.prepare(case.engine, case.members)
        data, url = folder / "data", prepared.url
        shutil.copytree(prepared.data, data)
        if case.engine == "postgresql":
            url = self._database(f"run{self.number}", url.rpartition("/")[2])
        config = data / "listserv.toml"
        config.write_text(self._config(url, DOMAIN, free_port(), free_port()))
        if case.style != "personal":
            shell(config, "group", "set", GROUP, f"delivery={case.style}")
        return data, url

    def _database(self, name: str, template: str = "template1") -> str:
        """The URL of a new one."""
        if self.server is None:
            self.account = usage.open_account("postgresql")
            self.stack.callback(self.account.close)
            self.server = self.stack.enter_context(postgres.running())
            self.account.adopt(int((self.server.folder / "data" / "postmaster.pid").read_text().split()[0]))
        with psycopg.connect(self.server.url("postgres").replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        return self.server.url(name)

    def _config(
        self,
        url: str,
        domain: str,
        port: int,
        sink: int,
        authenticate: bool = False,
        workers: dict[str, int] | None = None,
    ) -> str:
        sections: dict[str, dict[str, Any]] = {
            "site": {"hostname": f"mail.{DOMAIN}", "domains": [domain]},
            "database": {"url": url},
            "smtp": {"listen": [f"127.0.0.1:{port}"], "authenticate": authenticate},
            "dns": {"servers": [f"127.0.0.1:{self.dns}"]},
            "http": {"listen": ["unix:http"]},  # so that copies carry a one-click link
            "relay": {"host": "127.0.0.1", "port": sink, "tls": "none"},
            "workers": workers or {},
        }
        return toml(sections)


def shell(config: Path, *words: str) -> str:
    """What a command prints, beside a daemon or without one."""
    return call([*LISTSERV, str(config), *words], environment())


def accepts(processes: int) -> bool:
    """Whether this version can run so many delivery processes."""
    try:
        Settings.default(ROOT, {"workers": {"processes": processes}})
    except Faults:
        return False
    return True


def _roles(case: Case) -> list[tuple[str, str]]:
    """Each process's role, and the domain of its configuration."""
    if case.scenario is Scenario.INTAKE:
        return [("smtp", DOMAIN), ("delivery", DOMAIN)]
    return [("all", DOMAIN)] if case.signed else [("smtp", DOMAIN), ("delivery", f"not-{DOMAIN}")]


@contextmanager
def _daemon(account: Account, config: Path, role: str) -> Iterator[None]:
    """From its “ready” to its end; Failed when its log says that our own code failed."""
    log = config.with_suffix(".log")
    command = account.command([*LISTSERV, str(config), "run", "--role", role])
    with (
        log.open("a") as file,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, env=environment()) as daemon,
    ):
        if not account.exact:
            account.adopt(daemon.pid)
        try:
            assert daemon.stdout
            said, _, _ = select.select([daemon.stdout], [], [], STARTED)
            if not said or not daemon.stdout.readline().startswith(b"ready"):
                raise Failed(f"the daemon did not start: {log.read_text()[-1000:]}")
            yield
        finally:
            daemon.terminate()
            with suppress(subprocess.TimeoutExpired):
                daemon.wait(STOPPED)
            daemon.kill()
    if broken := [line for line in log.read_text().splitlines() if any(word in line for word in BROKEN)]:
        raise Failed(f"the daemon's log: {broken[0]}")
