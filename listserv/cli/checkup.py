"""What `listserv check` looks at: each function looks at one thing and says what is right, wrong, or not built yet."""

import json
import os
import shutil
import ssl
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from fcntl import LOCK_NB, LOCK_SH, flock
from functools import partial
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import DBAPIError

from listserv.cli.database import bare, passwords
from listserv.cli.dkim import same_record
from listserv.flows import restoring
from listserv.keyring import Key, Keyring
from listserv.net import lookup, probe
from listserv.net.lookup import NoAnswer
from listserv.net.routes import Smarthost, Tls
from listserv.settings import NOT_YET, Listen, Settings, UnixSocket
from listserv.store import aside, consents, health, ledger
from listserv.store.consents import Broken, Sound
from listserv.store.db import Database, is_reachable
from listserv.store.engines import UnsafeDatabase
from listserv.store.schema import VERSION
from listserv.store.upgrade import version
from listserv.texts import Texts, plural

NEWEST = 10_000  # rows of the consent record; `db verify` looks at all
SKEW = timedelta(seconds=60)
MESSAGES = 2  # the largest message has to fit on the disk so often, or mail is refused with 452
PATIENCE = 10.0  # seconds for the relay's answers

CLOSE = "chmod 0640 it, or 0600"


class Status(StrEnum):
    OK = "ok"
    WRONG = "wrong"
    NOT_YET = "not yet"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, how it is, and, where it is wrong, how to mend it."""

    status: Status
    what: str
    detail: str
    mend: str = ""


Findings = Iterator[Finding]


def ok(what: str, detail: str) -> Finding:
    return Finding(Status.OK, what, detail)


def wrong(what: str, detail: str, mend: str) -> Finding:
    return Finding(Status.WRONG, what, detail, mend)


def configuration(path: Path) -> Finding:
    """The file, which is sound; nobody else may read it when the database's password stands in it."""
    if _holds_password(path) and _is_open(path):
        mend = f"{CLOSE}, or leave the password to libpq (?passfile=/PATH)"
        return wrong("configuration", f"{path} holds the database's password and can be read by everybody", mend)
    return ok("configuration", str(path))


def _holds_password(path: Path) -> bool:
    """Whether [database] url has one, in front of its host or among its options."""
    said = tomllib.loads(path.read_text("utf-8")).get("database", {}).get("url", "")
    url = make_url(said) if said else None
    return url is not None and bool(url.password or passwords(url))


def folder(settings: Settings) -> Findings:
    """data_dir: there, ours, and with space."""
    path = settings.site.data_dir
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        yield wrong("data_dir", f"{path} cannot be written to", "run this as the daemon's user, or chown the folder")
        return
    yield ok("data_dir", f"{path} is writable")
    free, needed = shutil.disk_usage(path).free, MESSAGES * settings.smtp.max_message_bytes
    if free < needed:
        mend = f"make room: below {_size(needed)} all mail is refused with 452"
        yield wrong("disk", f"{_size(free)} free", mend)
    else:
        yield ok("disk", f"{_size(free)} free")


def database(settings: Settings, now: datetime) -> Findings:
    """Reachable, at our version, durable; and the clock beside its clock."""
    url = make_url(settings.database.url)
    where = url.database if url.get_backend_name() == "sqlite" else bare(url).render_as_string()
    db = Database(settings.database.url)
    try:
        if fault := is_reachable(db):
            yield wrong("database", f"{where}: {fault}", remedy(url, fault))
            return
        found = db.read_now(version)
        if found != VERSION:
            mend = "run the newer listserv" if found and found > VERSION else "run `listserv db upgrade`"
            yield wrong("database", f"{where} is at version {found or 'none'}, not {VERSION}", mend)
            return
        seen = db.write_now(health.look)
        held = db.read_now(restoring.held)
        record = db.read_now(lambda tx: list(consents.verify(tx, NEWEST))[-1])
    except UnsafeDatabase as fault:
        yield wrong("database", str(fault), "mail that was accepted could be lost in a power cut")
        return
    except DBAPIError as fault:
        yield wrong("database", f"{where}: {str(fault.orig).strip().splitlines()[0]}", "see that it can be written to")
        return
    finally:
        db.close()
    yield ok("database", f"{where}: {seen.server}, version {found}, {seen.safe}")
    yield consent(record)
    yield clock(now, seen.clock)
    if held:
        yield wrong("restored", restoring.said(held), restoring.MEND)
    yield from conservation(settings)


def remedy(url: URL, fault: str) -> str:
    """What to do about a database that cannot be used at all."""
    if url.get_backend_name() == "sqlite":
        if "not a database" in fault:
            return "this file is something else, or broken: restore a backup, or change [database] url"
        if "disk" in fault:
            return "make room on its disk, and see that the disk is sound"
        return "its folder has to be there, and folder and file have to belong to the daemon's user"
    if "does not exist" in fault:
        return "make the role and an empty database that belongs to it (createuser, createdb), or change [database] url"
    return "see that it runs and that [database] url is right"


def conservation(settings: Settings) -> Findings:
    """Whatever was taken is somewhere: the accounts of posts and of copies balance."""
    db = Database(settings.database.url)
    try:
        found, failed = db.read_now(ledger.balances), db.read_now(aside.count)
    finally:
        db.close()
    if failed:
        mend = "`listserv queue list --state aside`; please report what `listserv queue show ID` says"
        yield wrong("set aside", f"our own code failed on {plural(failed, 'post or copy', 'posts or copies')}", mend)
    for name, balance in zip(("posts", "copies"), found, strict=True):
        places = ", ".join(f"{number} {place.replace('_', ' ')}" for place, number in balance.places.items())
        said = f"{balance.entered} came in: {places or 'nothing yet'}"
        if balance.missing:
            mend = "please report this; `listserv log search` and `listserv trace` say what came in"
            yield wrong(f"conservation of {name}", f"{said}; {balance.missing} missing", mend)
        else:
            yield ok(f"conservation of {name}", said)


def consent(found: Sound | Broken) -> Finding:
    """The newest rows of the consent record follow from each other."""
    match found:
        case Sound(rows):
            return ok("consent record", f"its newest {rows} rows are as they were written")
        case Broken(id, why):
            mend = "somebody has changed the database by hand: look at its backups; `listserv db verify` reads it all"
            return wrong("consent record", f"row {id}: {why}", mend)


def clock(now: datetime, other: datetime | None) -> Finding:
    """Ours beside the database's; a time before the newest thing we know was set back."""
    shown = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    if other is not None and now < other.astimezone(UTC) - SKEW:
        detail = f"{shown}, but the database knows of {other.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        return wrong("clock", detail, "set the clock by NTP (timedatectl set-ntp true)")
    return ok("clock", shown)


def texts(settings: Settings) -> Findings:
    """The operator's own texts, if there are any: those that are wrong are not used."""
    folder = settings.site.data_dir / "templates"
    for fault in Texts([folder]).faults:
        yield wrong("texts", fault, "mend it; until then ours is used")


def ports(settings: Settings) -> Findings:
    """Each address to listen at is free, or our daemon's."""
    doors = {"smtp": settings.smtp.listen, "lmtp": settings.lmtp.listen, "http": settings.http.listen}
    running = is_running(settings.site.data_dir)
    for section, listens in doors.items():
        for listen in listens:
            yield _port(f"[{section}] listen", listen, running=running)


def _port(what: str, listen: Listen, *, running: bool) -> Finding:
    address = str(listen.path) if isinstance(listen, UnixSocket) else (listen.host, listen.port)
    try:
        probe.can_listen(address)
    except probe.PortTaken:
        if running:
            return ok(what, f"{listen}: the daemon is listening")
        return wrong(what, f"{listen} is taken by another program", f"stop that one, or change {what}")
    except OSError as fault:
        low = not isinstance(listen, UnixSocket) and listen.port < 1024
        mend = "give the daemon CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=)" if low else f"change {what}"
        return wrong(what, f"{listen}: {fault.strerror or fault}", mend)
    return ok(what, f"{listen} is free")


def is_running(data_dir: Path) -> bool:
    """Whether a daemon of any role holds its lock on this folder; False where we may not look."""
    with suppress(PermissionError):
        for path in data_dir.glob("daemon-*.lock"):
            with path.open() as lock:
                try:
                    flock(lock, LOCK_SH | LOCK_NB)
                except BlockingIOError:
                    return True
    return False


def processes(settings: Settings, now: datetime) -> Findings:
    """Those of a running daemon that has several: which of them dies again and again."""
    from listserv.supervisor import FLAPPING, WITHIN, kept

    for process in kept(settings.site.data_dir) if is_running(settings.site.data_dir) else ():
        if process.flaps(now.timestamp()):
            often = f"ended {FLAPPING} times in the last {WITHIN / 60:.0f} minutes, last {process.last}"
            yield wrong("processes", f"the {process.name} {often}", "the daemon's log says why")
        else:
            yield ok("processes", f"the {process.name} runs as {process.pid}")


def tls(settings: Settings) -> Findings:
    """Certificate and key, if they are configured: readable, and of one pair."""
    cert, key = settings.smtp.tls_cert, settings.smtp.tls_key
    if cert is None or key is None:
        return
    for name, path in (("tls_cert", cert), ("tls_key", key)):
        try:
            path.read_bytes()
        except OSError as fault:
            mend = "let the daemon's user read it"
            yield wrong(f"[smtp] {name}", f"{path}: {fault.strerror}", mend)
            return
    if _is_open(key):
        yield wrong("[smtp] tls_key", f"{key} can be read by everybody", CLOSE)
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key, password=lambda: "")
    except (ssl.SSLError, ValueError) as fault:
        reason = getattr(fault, "reason", "") or str(fault)
        yield wrong("[smtp] tls_cert", f"{cert} with {key}: {reason}", "PEM files of one pair, the key not encrypted")
    else:
        yield ok("[smtp] tls_cert", f"{cert}")


def password(settings: Settings) -> Findings:
    """The password for the relay, if there is one, is nobody else's to read."""
    path = settings.relay.password_file
    if path and path.exists() and _is_open(path):
        yield wrong("[relay] password_file", f"{path} can be read by everybody", CLOSE)


def _is_open(path: Path) -> bool:
    """To users who are neither its owner nor of its group: certificates are often kept for a group."""
    return bool(path.stat().st_mode & 0o007)


def relay(settings: Settings) -> Finding:
    """The smarthost answers, with TLS and AUTH as configured."""
    found = settings.relay
    where = f"{found.host}:{found.port}"
    try:
        route = Smarthost(
            host=found.host,
            port=found.port,
            tls=Tls(found.tls.value),
            username=found.username,
            password=found.password(),
            hostname=settings.site.hostname,
            connections=1,
        )
        return ok("[relay]", f"{where} answers: {probe.greet(route, PATIENCE)}")
    except OSError as fault:
        return wrong("[relay]", f"{found.password_file}: {fault.strerror}", "let the daemon's user read password_file")
    except probe.Unreachable as fault:
        return wrong(
            "[relay]", f"{where}: {fault}", "see that it runs and that [relay] is right; until then mail waits"
        )


def records(settings: Settings, keyring: Keyring) -> Findings:
    """What others look up: where our mail goes, who may send it, and how it is verified."""
    site = settings.site
    asked = Dns([(each.host, each.port) for each in settings.dns.servers], settings.dns.timeout_seconds)
    yield asked.about("[dns]", partial(asked.resolver, checks=settings.smtp.authenticate))
    yield asked.about(f"DNS {site.hostname}", partial(asked.host, site.hostname))
    for domain in site.domains:
        yield asked.about(f"DNS MX {domain}", partial(asked.mx, domain, site.hostname))
        yield asked.about(f"DNS SPF {domain}", partial(asked.spf, domain))
        yield asked.about(f"DNS DMARC {domain}", partial(asked.dmarc, domain))
    for key in keyring.every_key():
        if key.state == "signing":
            yield asked.about(f"DNS DKIM {key.name}", partial(asked.dkim, key))


Answer = tuple[str, str]  # what was seen, and how to mend it: "" when it is right


@dataclass(frozen=True, slots=True)
class Dns:
    """The questions; each method gives an Answer or raises NoAnswer."""

    servers: lookup.Servers
    timeout: float

    def about(self, what: str, ask: Callable[[], Answer]) -> Finding:
        try:
            seen, mend = ask()
        except NoAnswer as fault:
            return wrong(what, str(fault), "try again, or leave the DNS out with --no-dns")
        return wrong(what, seen, mend) if mend else ok(what, seen)

    def resolver(self, *, checks: bool) -> Answer:
        """Whether anybody answers; who wrote what comes in depends on it."""
        where = ", ".join(f"{host}:{port}" for host, port in self.servers) or "the system's resolver"
        try:
            lookup.answers(self.servers, self.timeout)
        except NoAnswer as fault:
            mend = "see that [dns] servers is right"
            return f"{where}: {fault}", f"{mend}; until then authors are unknown" if checks else mend
        return f"{where} answers", ""

    def host(self, hostname: str) -> Answer:
        found = lookup.addresses(hostname, self.servers, self.timeout)
        return (", ".join(found), "") if found else ("no address", f"publish: {hostname}. IN A <our address>")

    def mx(self, domain: str, hostname: str) -> Answer:
        found = lookup.mx(domain, self.servers, self.timeout)
        if not found:
            return "no MX record: mail may not find us", f"publish: {mx_line(domain, hostname)}"
        return ", ".join(f"{preference} {host}" for preference, host in found), ""

    def spf(self, domain: str) -> Answer:
        found = [each for each in self._txt(domain) if each.lower().partition(" ")[0] == "v=spf1"]
        if len(found) > 1:
            return "more than one SPF record, so none counts (RFC 7208 §4.5)", "make one of them"
        return (found[0], "") if found else ("no SPF record", f"publish: {spf_line(domain)}")

    def dmarc(self, domain: str) -> Answer:
        found = [each for each in self._txt(f"_dmarc.{domain}") if each.upper().startswith("V=DMARC1")]
        return (found[0], "") if found else ("no DMARC record", f"publish: {dmarc_line(domain)}")

    def dkim(self, key: Key) -> Answer:
        found = self._txt(key.name)
        if any(same_record(key.record, each) for each in found):
            return "published", ""
        seen = "another key is published" if found else "our key is not published"
        return seen, f"publish: {key.zone_line}"

    def _txt(self, name: str) -> list[str]:
        return lookup.txt(name, self.servers, self.timeout)


def mx_line(domain: str, hostname: str) -> str:
    return f"{domain}. IN MX 10 {hostname}."


def spf_line(domain: str) -> str:
    return f'{domain}. IN TXT "v=spf1 mx ~all"'


def dmarc_line(domain: str) -> str:
    return f'_dmarc.{domain}. IN TXT "v=DMARC1; p=none"'


def not_yet(settings: Settings) -> Findings:
    """Settings that are accepted and have no effect so far."""
    for name, what in NOT_YET.items():
        section, _, key = name.partition(".")
        value = getattr(getattr(settings, section), key)
        shown = json.dumps([str(each) for each in value] if isinstance(value, tuple) else value)  # as TOML has it
        yield Finding(Status.NOT_YET, f"[{section}] {key}", f"{shown}; {what}")


def _size(octets: int) -> str:
    return f"{octets / 1e9:.1f} GB" if octets >= 1e9 else f"{octets / 1e6:.0f} MB"
