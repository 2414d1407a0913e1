"""What the operator of the machine decides: TOML + environment → one frozen tree of dataclasses.

`Settings.load` gives the whole tree or raises `Faults`, one line for each; nothing starts half-configured.
`config/listserv.toml` explains every key to the operator and is held equal to this module by a test.
What owners of groups decide is not here but in the database (`model.group.Policy`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from itertools import combinations
from pathlib import Path
from typing import Any, Self

from listserv.model.address import Address
from listserv.settings import kinds, read
from listserv.settings.kinds import Listen, Network, TcpPort, UnixSocket, is_loopback
from listserv.settings.read import Conflict, Fault, Faults, key

__all__ = [
    "NOT_YET",
    "AccessLog",
    "Database",
    "Dkim",
    "Dns",
    "Fault",
    "Faults",
    "Http",
    "Listen",
    "Lmtp",
    "Network",
    "Relay",
    "RelayMode",
    "RelayTls",
    "Settings",
    "Site",
    "Smtp",
    "TcpPort",
    "UnixSocket",
    "UnknownAuthors",
    "Workers",
    "find",
]

PLACES = ("listserv.toml", "var/listserv.toml", "/etc/listserv/listserv.toml")

# Accepted and validated, but without effect so far: `listserv check` says so.
NOT_YET: Mapping[str, str] = {
    "relay.mode": 'only that is built; "direct" (MX look-up) is refused',
}


# What a running daemon takes over when it reads its configuration anew.
AT_ONCE = frozenset(
    f"smtp.{name}"
    for name in (
        "max_message_bytes",
        "max_recipients",
        "max_connections",
        "max_connections_per_address",
        "idle_timeout_seconds",
        "session_timeout_seconds",
    )
)


class UnknownAuthors(StrEnum):
    """What becomes of authors whose domain publishes nothing, or when DNS is silent."""

    ACCEPT = "accept"
    HOLD = "hold"


class RelayMode(StrEnum):
    SMARTHOST = "smarthost"
    DIRECT = "direct"


class RelayTls(StrEnum):
    """none; opportunistic: STARTTLS where offered, unverified; required: STARTTLS, verified; implicit: TLS at once."""

    NONE = "none"
    OPPORTUNISTIC = "opportunistic"
    REQUIRED = "required"
    IMPLICIT = "implicit"


@dataclass(frozen=True, slots=True)
class Site:
    name: str = key(kinds.name, "Example Groups")
    hostname: str = key(kinds.domain, "lists.example.org")
    domains: tuple[str, ...] = key(kinds.domains, ["lists.example.org"])
    url: str = key(kinds.url, "http://127.0.0.1:8080")  # without a slash at the end
    data_dir: Path = key(kinds.folder, ".")  # absolute, as is every path in this tree
    operators: tuple[Address, ...] = key(kinds.operators, [])


@dataclass(frozen=True, slots=True)
class Database:
    url: str = key(kinds.database, "sqlite:///listserv.db", secret=True)  # SQLite's file by its absolute path


@dataclass(frozen=True, slots=True)
class Smtp:
    listen: tuple[Listen, ...] = key(kinds.listens, ["127.0.0.1:8025"])
    max_message_bytes: int = key(kinds.integer(1, 2**30), 10_485_760)
    max_recipients: int = key(kinds.integer(1, 100_000), 1000)
    max_connections: int = key(kinds.integer(1, 100_000), 1000)
    max_connections_per_address: int = key(kinds.integer(1, 100_000), 100)
    idle_timeout_seconds: int = key(kinds.integer(1, 86_400), 300)
    session_timeout_seconds: int = key(kinds.integer(1, 86_400), 3600)
    tls_cert: Path | None = key(kinds.optional_file, "")
    tls_key: Path | None = key(kinds.optional_file, "")
    authenticate: bool = key(kinds.flag, True)
    unknown_authors: UnknownAuthors = key(kinds.choice(UnknownAuthors), "accept")
    trusted_networks: tuple[Network, ...] = key(kinds.networks, [])
    authserv_ids: tuple[str, ...] = key(kinds.authserv_ids, [])


@dataclass(frozen=True, slots=True)
class Lmtp:
    listen: tuple[Listen, ...] = key(kinds.listens, [])


@dataclass(frozen=True, slots=True)
class Dns:
    servers: tuple[TcpPort, ...] = key(kinds.resolvers, [])
    timeout_seconds: int = key(kinds.integer(1, 60), 5)


@dataclass(frozen=True, slots=True)
class Http:
    listen: tuple[Listen, ...] = key(kinds.listens, ["127.0.0.1:8080"])


@dataclass(frozen=True, slots=True)
class Relay:
    mode: RelayMode = key(kinds.choice(RelayMode, not_yet=(RelayMode.DIRECT,)), "smarthost")
    host: str = key(kinds.host, "127.0.0.1")
    port: int = key(kinds.integer(1, 65_535), 25)
    tls: RelayTls = key(kinds.choice(RelayTls), "opportunistic")
    username: str = key(kinds.user, "")
    password_file: Path | None = key(kinds.optional_file, "")
    connections: int = key(kinds.integer(1, 1000), 20)

    def password(self) -> str:
        """The first line of `password_file`, or the empty string.  Raises OSError when the file cannot be read."""
        return self.password_file.read_text("utf-8").partition("\n")[0].rstrip("\r") if self.password_file else ""


@dataclass(frozen=True, slots=True)
class Dkim:
    selector: str = key(kinds.selector, "ls1")


@dataclass(frozen=True, slots=True)
class AccessLog:
    path: Path = key(kinds.path, "log/access.log")
    retention_days: int = key(kinds.integer(1, 36_500), 90)


@dataclass(frozen=True, slots=True)
class Workers:
    processes: int = key(kinds.integer(1, 64), 1)
    receivers: int = key(kinds.integer(1, 64), 1)


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole configuration; every path in it is absolute."""

    site: Site
    database: Database
    smtp: Smtp
    lmtp: Lmtp
    dns: Dns
    http: Http
    relay: Relay
    dkim: Dkim
    access_log: AccessLog
    workers: Workers

    @classmethod
    def load(cls, path: Path, environ: Mapping[str, str]) -> Self:
        """The file at `path` with what LISTSERV_<SECTION>__<KEY> overrides.  Raises Faults."""
        return read.load(cls, path, environ, _conflicts)

    def waits_for_restart(self, changed: "Settings") -> list[str]:
        """The keys, as `[smtp] listen`, in which this differs and which a running daemon does not take over."""
        return [
            f"[{section.name}] {each.name}"
            for section in fields(self)
            for each in fields(getattr(self, section.name))
            if f"{section.name}.{each.name}" not in AT_ONCE
            and getattr(getattr(self, section.name), each.name) != getattr(getattr(changed, section.name), each.name)
        ]

    @classmethod
    def default(cls, data_dir: Path, changes: Mapping[str, Mapping[str, Any]] | None = None) -> Self:
        """The defaults with `changes` (section → key → plain value, as TOML has it).  Raises Faults, as `load` does."""
        return read.build(cls, changes or {}, data_dir / "listserv.toml", {}, _conflicts)


def find(explicit: Path | None, environ: Mapping[str, str], folder: Path = Path()) -> Path | None:
    """The file to load: named by `--config`, by $LISTSERV_CONFIG, or the first of the usual places that is there."""
    if explicit or environ.get("LISTSERV_CONFIG"):
        return explicit or Path(environ["LISTSERV_CONFIG"])
    return next((folder / place for place in PLACES if _is_file(folder / place, in_doubt=True)), None)


def _is_file(path: Path, *, in_doubt: bool) -> bool:
    """In doubt the path is not ours to look at: who opens it will say why."""
    try:
        return path.is_file()
    except OSError:
        return in_doubt


def _conflicts(settings: Settings) -> Iterator[Conflict]:
    """Combinations that cannot work, or that would give a secret away."""
    yield from _tls_conflicts(settings.smtp)
    yield from _relay_conflicts(settings.relay, settings.smtp)
    yield from _listen_conflicts(settings)
    for operator in settings.site.operators:
        if operator.domain in settings.site.domains:
            what = f"{operator} is at one of our own domains; expected addresses elsewhere (mail would go in circles)"
            yield Conflict((("site", "operators"), ("site", "domains")), what)
    if _is_file(settings.site.data_dir, in_doubt=False):
        yield Conflict((("site", "data_dir"),), f"{settings.site.data_dir} is a file; expected a folder")


def _tls_conflicts(smtp: Smtp) -> Iterator[Conflict]:
    if smtp.tls_cert and not smtp.tls_key:
        yield Conflict((("smtp", "tls_key"), ("smtp", "tls_cert")), "is missing; expected the key of tls_cert")
    if smtp.tls_key and not smtp.tls_cert:
        yield Conflict((("smtp", "tls_cert"), ("smtp", "tls_key")), "is missing; expected the certificate of tls_key")


def _relay_conflicts(relay: Relay, smtp: Smtp) -> Iterator[Conflict]:
    user, password, tls = ("relay", "username"), ("relay", "password_file"), ("relay", "tls")
    if relay.username and not relay.password_file:
        yield Conflict((password, user), "is missing; expected the file with the password of username")
    if relay.password_file and not relay.username:
        yield Conflict((user, password), "is missing; expected the name that password_file belongs to")
    may_be_clear = relay.tls in (RelayTls.NONE, RelayTls.OPPORTUNISTIC) and not is_loopback(relay.host)
    if relay.username and may_be_clear:
        what = f'"{relay.tls}" could send the password in clear; expected "required" or "implicit" with a username'
        yield Conflict((tls, user, ("relay", "host")), what)
    for listen in smtp.listen:
        if isinstance(listen, TcpPort) and listen.port == relay.port and _same_machine(listen.host, relay.host):
            what = f"{listen} is our own [smtp] listen; expected the port of the next hop (mail would go in circles)"
            yield Conflict((("relay", "port"), ("relay", "host"), ("smtp", "listen")), what)


def _same_machine(ours: str, theirs: str) -> bool:
    """Whether who connects to `theirs` reaches what listens on `ours`; 127.0.0.2 may well be another server."""
    everywhere = ours in ("0.0.0.0", "::") and is_loopback(theirs)  # noqa: S104
    return everywhere or ours == theirs or {ours, theirs} in ({"localhost", "127.0.0.1"}, {"localhost", "::1"})


def _listen_conflicts(settings: Settings) -> Iterator[Conflict]:
    doors = {"smtp": settings.smtp.listen, "lmtp": settings.lmtp.listen, "http": settings.http.listen}
    for (first, here), (second, there) in combinations(doors.items(), 2):
        for listen in here:
            if listen in there and not (isinstance(listen, TcpPort) and listen.port == 0):
                what = f"{listen} is taken by [{first}] listen; expected another port or path"
                yield Conflict(((second, "listen"), (first, "listen")), what)
