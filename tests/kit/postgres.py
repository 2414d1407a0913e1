"""A PostgreSQL of our own: initdb in a temporary folder, a free port, fsync on, gone at the end."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psycopg

from listserv.store.db import Database
from listserv.store.upgrade import upgrade
from tests.kit.components import needs_postgresql

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running server.  `database()` is a fresh one at the current schema, copied from a template."""

    folder: Path
    bin: Path
    port: int

    def url(self, name: str) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{name}"

    def database(self) -> str:
        name = f"story{next(_numbers)}"
        with psycopg.connect(f"host=127.0.0.1 port={self.port} user=postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template_listserv")
        return self.url(name)

    def drop(self, url: str) -> None:
        name = url.rpartition("/")[2]
        with psycopg.connect(f"host=127.0.0.1 port={self.port} user=postgres", autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def ctl(self, *arguments: str) -> None:
        _run(self.folder, str(self.bin / "pg_ctl"), "-D", str(self.folder / "data"), "-w", *arguments)

    def answers(self) -> bool:
        """Whether it takes connections: it does not while it recovers."""
        with suppress(psycopg.OperationalError), psycopg.connect(f"host=127.0.0.1 port={self.port} user=postgres"):
            return True
        return False

    def pids(self) -> list[int]:
        """The server's processes: the postmaster first, then those that it has forked."""
        try:
            first = int((self.folder / "data/postmaster.pid").read_text().split()[0])
            forked = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        except (FileNotFoundError, IndexError):
            return []
        return [first, *map(int, forked)]

    def kill(self) -> None:
        """All of it at once; it goes on with `restart`."""
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def restart(self) -> None:
        """After an end that left its locks; a zombie may still have the number that is in them."""
        for lock in (self.folder / "data/postmaster.pid", *self.folder.glob(".s.PGSQL.*.lock")):
            lock.unlink(missing_ok=True)
        self.start()

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1"
        try:
            self.ctl("-l", str(self.folder / "log"), "-o", options, "start")
        except RuntimeError as fault:
            raise RuntimeError(f"{fault}{(self.folder / 'log').read_text()[-2000:]}") from None


@contextmanager
def running(place: str = "/tmp", *initdb: str) -> Iterator[Postgres]:
    """From initdb to the end of the folder, which is made in `place`; skips the test where there is no PostgreSQL."""
    binaries = needs_postgresql().parent
    folder = Path(tempfile.mkdtemp(prefix="listserv-pg-", dir=place))  # a short path, for its socket
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    server = Postgres(folder, binaries, _free_port())
    try:
        options = ["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", *initdb]
        _run(folder, str(binaries / "initdb"), "-D", str(folder / "data"), *options)
        server.start()
        try:
            _template(server)
            yield server
        finally:
            if server.pids():
                server.ctl("-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _template(server: Postgres) -> None:
    with psycopg.connect(f"host=127.0.0.1 port={server.port} user=postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE template_listserv")
    database = Database(server.url("template_listserv"))
    upgrade(database)
    database.close()


def _run(folder: Path, *command: str) -> None:
    """As the user postgres when we are root: the server refuses to run as root."""
    user = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        user=user.pw_uid if user else None,
        group=user.pw_gid if user else None,
        extra_groups=[] if user else None,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
