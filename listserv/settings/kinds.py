"""What a value in the configuration may be: for each kind a phrase that names it, and a function that reads it.

Pure but for one look: whether a file that is named is there.  A kind reads the plain value (as TOML has it) and gives
the rich one, or `Wrong`; it raises nothing.  Relative paths are completed by the folder that the reader hands in.
"""

import ipaddress
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import urlsplit

from listserv.model import address

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]{1,200}\Z")
_VISIBLE_ASCII = re.compile(r"[!-~]{1,500}\Z")
_HOST_PORT = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<host>[^:\[\]]+)):(?P<port>[0-9]{1,5})\Z")
_PASSWORD = re.compile(r"(//[^/:@]*:).*@")
_OPTION = re.compile(r"([?&]\w*password=)[^&\"]*")  # among the options of a database's URL


@dataclass(frozen=True, slots=True)
class TcpPort:
    """`host` is a name or an IP address without brackets; port 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixSocket:
    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"


Listen = TcpPort | UnixSocket


@dataclass(frozen=True, slots=True)
class Wrong:
    """A value, or those elements of a list, that the kind does not accept; `why` completes the sentence."""

    values: tuple[object, ...]
    why: str = "is not accepted"

    def __str__(self) -> str:
        return f"{', '.join(map(shown, self.values))} {self.why}"


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """`accepted` completes “expected …”; `read` gets the plain value and the folder of relative paths."""

    accepted: str
    read: Callable[[object, Path], T | Wrong]


def shown(value: object) -> str:
    """The value as the file has it, without a password and of bearable length."""
    text = _PASSWORD.sub(r"\1…@", json.dumps(value, ensure_ascii=False, default=str))
    text = _OPTION.sub(r"\1…", text)
    return text if len(text) <= 80 else f"{text[:79]}…"


def is_loopback(host: str) -> bool:
    """True for localhost and for addresses that do not leave the machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def integer(least: int, most: int) -> Kind[int]:
    """From `least` to `most`."""

    def read(value: object, _: Path) -> int | Wrong:
        if not isinstance(value, int) or isinstance(value, bool):
            return Wrong((value,))
        return value if least <= value <= most else Wrong((value,))

    return Kind(f"an integer from {least} to {most}", read)


def choice(choices: type[E], *, not_yet: tuple[E, ...] = ()) -> Kind[E]:
    """One of an enumeration's values; those that are not built yet are refused with that reason."""
    offered = [member for member in choices if member not in not_yet]

    def read(value: object, _: Path) -> E | Wrong:
        member = next((member for member in choices if member == value), None)
        if member is None:
            return Wrong((value,))
        return Wrong((value,), "is not built yet") if member in not_yet else member

    return Kind(" or ".join(f'"{member}"' for member in offered), read)


def _text(accepted: str, read: Callable[[str, Path], T | None]) -> Kind[T]:
    """A kind of string; `read` gives None for what it does not accept."""

    def checked(value: object, folder: Path) -> T | Wrong:
        found = read(value, folder) if isinstance(value, str) else None
        return Wrong((value,)) if found is None else found

    return Kind(accepted, checked)


def _optional(kind: Kind[T]) -> Kind[T | None]:
    """The empty string says: none."""
    return Kind(f'{kind.accepted}, or ""', lambda value, folder: None if value == "" else kind.read(value, folder))


def _list(accepted: str, element: Kind[T], *, least: int = 0) -> Kind[tuple[T, ...]]:
    """`accepted` completes “a list of …”; what is wrong is said by element, not by the whole list."""

    def read(value: object, folder: Path) -> tuple[T, ...] | Wrong:
        if not isinstance(value, list) or len(value) < least:
            return Wrong((value,))
        found = [(each, element.read(each, folder)) for each in value]
        if wrong := tuple(each for each, result in found if isinstance(result, Wrong)):
            return Wrong(wrong)
        good = tuple(result for _, result in found if not isinstance(result, Wrong))
        if twice := tuple(each for index, each in enumerate(value) if good[index] in good[:index]):
            return Wrong(twice, "stands there twice")
        return good

    return Kind(f"a list of {accepted}", read)


def _flag(value: object, _: Path) -> bool | Wrong:
    return value if isinstance(value, bool) else Wrong((value,))


def _path(text: str, folder: Path) -> Path | None:
    if not text or text.startswith("~") or "\0" in text:
        return None
    return folder / text  # not resolved: the access log's path is a link that moves from day to day


def _file(value: object, folder: Path) -> Path | Wrong:
    path = _path(value, folder) if isinstance(value, str) else None
    if path is None:
        return Wrong((value,))
    try:
        return path if path.is_file() else Wrong((value,), f"is no file ({path})")
    except OSError:  # not ours to look at: who needs it will say so
        return path


def _host(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        # What looks like an IPv4 address but is none would be a name to the grammar.
        return None if re.fullmatch(r"[0-9.]+", text) else address.domain_name(text)


def _tcp_port(text: str, _: Path) -> TcpPort | None:
    match = _HOST_PORT.match(text)
    host = _host(match["v6"] or match["host"]) if match else None
    if match is None or host is None or (":" in host) != bool(match["v6"]) or int(match["port"]) > 65535:
        return None
    return TcpPort(host, int(match["port"]))


def _listen(text: str, folder: Path) -> Listen | None:
    if not text.startswith("unix:"):
        return _tcp_port(text, folder)
    path = _path(text.removeprefix("unix:"), folder)
    return UnixSocket(path) if path else None


def _resolver(text: str, folder: Path) -> TcpPort | None:
    """Resolvers have no names: there would be nobody to ask for their address."""
    server = _tcp_port(text, folder)
    return server if server and server.port and _is_ip(server.host) else None


def _network(text: str, _: Path) -> Network | None:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        return None
    return network if network.prefixlen else None  # /0 would be everybody


def _url(text: str, _: Path) -> str | None:
    if not _VISIBLE_ASCII.match(text):
        return None
    try:
        url = urlsplit(text)
        host, _port = url.hostname, url.port
    except ValueError:
        return None
    if not host or url.query or url.fragment or url.username is not None or _host(host) is None:
        return None
    if url.scheme == "https" or (url.scheme == "http" and is_loopback(host)):
        return text.rstrip("/")
    return None


def _database(text: str, folder: Path) -> str | None:
    if text.startswith("sqlite:///"):
        path = None if "?" in text else _path(text.removeprefix("sqlite:///"), folder)
        return None if path is None or path.name == ":memory:" else f"sqlite:///{path}"
    scheme, separator, rest = text.partition("://")
    if scheme not in ("postgresql", "postgresql+psycopg") or not separator or not _VISIBLE_ASCII.match(text):
        return None
    try:
        url = urlsplit(f"postgresql://{rest}")
        return f"postgresql+psycopg://{rest}" if len(url.path) > 1 and (url.port is None or url.port) else None
    except ValueError:
        return None


flag = Kind("true or false", _flag)
name = _text("one line of text", lambda text, _: text if _PRINTABLE.match(text) and text.strip() else None)
user = Kind("one line of text", lambda value, folder: value if value == "" else name.read(value, folder))
domain = _text('a domain such as "lists.example.org"', lambda text, _: None if _is_ip(text) else _host(text))
domains = _list('domains, at least one, such as ["lists.example.org"]', domain, least=1)
authserv_ids = _list('domains such as ["mx.example.org"]', domain)
selector = _text('a DKIM selector such as "ls1"', lambda text, _: address.domain_name(text) if text.isascii() else None)
operators = _list('addresses such as ["ada@example.org"]', _text("", lambda text, _: address.parse(text)))
url = _text("https://HOST/… without query (http:// only where HOST is loopback)", _url)
host = _text("a host name or an IP address", lambda text, _: _host(text))
folder = _text("a folder, relative to this file or absolute", _path)
path = _text("a path, relative to data_dir or absolute", _path)
optional_file = _optional(Kind("a file that is there, relative to data_dir or absolute", _file))
listens: Kind[tuple[Listen, ...]] = _list('"HOST:PORT", "[V6]:PORT" or "unix:PATH"', _text("", _listen))
resolvers = _list('"IP:PORT" or "[V6]:PORT"', _text("", _resolver))
networks: Kind[tuple[Network, ...]] = _list('networks such as ["192.0.2.0/24", "2001:db8::/32"]', _text("", _network))
database = _text('"sqlite:///FILE" or "postgresql+psycopg://USER@HOST/DATABASE"', _database)
