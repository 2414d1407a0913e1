"""DKIM keys as files: one folder a domain under data_dir/dkim, one PEM file a selector.

    dkim/lists.example.org/ls1.pem    a private key, mode 0600; made on first use
    dkim/lists.example.org/ls2.pem    its successor: made by `begin_rotation`, signs after `activate`
    dkim/lists.example.org/signing    "ls1 ls2": where the configuration says ls1, ls2 signs

An operator who changes [dkim] selector is obeyed: then `signing` speaks of another selector and counts no more.
Old keys stay, because their signatures are on their way and in archives.  A keyring looks at the folders when
it is asked, so a running daemon signs with the new key from its next edition on; what it cannot read then
leaves it with the keys it had.  A file that others may read is refused: whoever has it can sign as us.

Who does not sign makes a Keyring and asks it nothing: then no file is made or opened.
"""

import logging
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from listserv import files
from listserv.mail import signature
from listserv.mail.signature import Signer

log = logging.getLogger("listserv.keyring")

SIGNING = "signing"


class UnsafeKey(Exception):
    """A key file that is readable by others, or no key."""


class NoNewKey(Exception):
    """There is nothing to activate."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key of ours.  `state` is signing, new (it will sign once it is activated), or old."""

    signer: Signer
    state: str
    path: Path

    @property
    def name(self) -> str:
        """Where its record belongs in the DNS."""
        return signature.dns_name(self.signer.domain, self.signer.selector)

    @property
    def record(self) -> str:
        return signature.dns_record(self.signer.key)

    @property
    def zone_line(self) -> str:
        return signature.zone_line(self.signer.key, self.signer.domain, self.signer.selector)


class Keyring:
    """The keys of the site's domains, which nobody has looked at yet.  Threads may share it."""

    def __init__(self, folder: Path, domains: Iterable[str], selector: str) -> None:
        self._folder = folder
        self._domains = tuple(domains)
        self._selector = selector

    @cached_property
    def signers(self) -> Mapping[str, Signer]:
        """domain → who signs for it; first loaded, or made, when this is asked for.  Raises UnsafeKey or OSError."""
        return _Signers(self._folder, self._domains, self._selector)

    @property
    def names(self) -> frozenset[tuple[str, str]]:
        """(domain, selector) of every key that is here: what signed once was ours."""
        return frozenset(
            (domain, found.stem) for domain in self._domains for found in (self._folder / domain).glob("*.pem")
        )

    def every_key(self) -> list[Key]:
        """All keys, by domain and selector.  Raises UnsafeKey or OSError."""
        found: list[Key] = []
        for domain in self._domains:
            now, new = self._now(domain), successor(self._now(domain))
            for path in sorted((self._folder / domain).glob("*.pem"), key=_numbered):
                state = "signing" if path.stem == now else "new" if path.stem == new else "old"
                found.append(Key(Signer(_load(path), domain, path.stem), state, path))
        return found

    def begin_rotation(self, domain: str) -> Key:
        """The key that is to sign next, made now unless it is there already.  Raises UnsafeKey or OSError."""
        path = self._path(domain, successor(self._now(domain)))
        if not path.exists():
            _make(path)
        return Key(Signer(_load(path), domain, path.stem), "new", path)

    def next_key(self, domain: str) -> Key:
        """The key that `activate` would let sign.  Raises NoNewKey, UnsafeKey or OSError."""
        path = self._path(domain, successor(self._now(domain)))
        if not path.exists():
            raise NoNewKey(f"{domain} has no new key; `listserv dkim rotate` makes one")
        return Key(Signer(_load(path), domain, path.stem), "new", path)

    def activate(self, domain: str) -> Key:
        """From now on the new key signs.  Raises what `next_key` raises."""
        key = self.next_key(domain)
        _write(key.path.with_name(SIGNING), f"{self._selector} {key.signer.selector}\n".encode())
        return Key(key.signer, "signing", key.path)

    def _now(self, domain: str) -> str:
        return _signing(self._folder / domain, self._selector)

    def _path(self, domain: str, selector: str) -> Path:
        return self._folder / domain / f"{selector}.pem"


class _Signers(Mapping[str, Signer]):
    """domain → who signs for it; a key that was activated since is loaded when it is asked for."""

    def __init__(self, folder: Path, domains: tuple[str, ...], selector: str) -> None:
        self._folder = folder
        self._selector = selector
        self._lock = threading.Lock()
        self._known = {domain: self._read(domain) for domain in domains}

    def __getitem__(self, domain: str) -> Signer:
        known = self._known[domain]
        if _signing(self._folder / domain, self._selector) != known.selector:
            with self._lock:
                self._known[domain] = known = self._read_or_keep(domain)
        return known

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def _read(self, domain: str) -> Signer:
        """The signing key of this domain, made when it is missing."""
        path = self._folder / domain / f"{_signing(self._folder / domain, self._selector)}.pem"
        if not path.exists():
            _make(path)
        return Signer(_load(path), domain, path.stem)

    def _read_or_keep(self, domain: str) -> Signer:
        known = self._known[domain]
        try:
            return self._read(domain)
        except (OSError, UnsafeKey) as fault:
            log.warning("still signing with %s for %s: %s", known.selector, domain, fault)
            return known


def open(folder: Path, domains: Iterable[str], selector: str) -> Keyring:
    """Load what is there, make what is missing.  Raises UnsafeKey or OSError."""
    opened = Keyring(folder, domains, selector)
    _ = opened.signers
    return opened


def successor(selector: str) -> str:
    """The selector after this one: ls1 → ls2, mail → mail2."""
    stem, number = re.fullmatch(r"(.*?)([0-9]*)", selector, re.DOTALL).groups()  # type: ignore[union-attr]
    return f"{stem}{int(number or 1) + 1}"


def _signing(folder: Path, configured: str) -> str:
    """The selector that signs: the configured one, unless `signing` names its successor."""
    try:
        words = (folder / SIGNING).read_text("ascii", "replace").split()
    except OSError:
        return configured
    is_meant = len(words) == 2 and words[0] == configured and (folder / f"{words[1]}.pem").exists()
    return words[1] if is_meant else configured


def _numbered(path: Path) -> tuple[str, int]:
    stem = path.stem.rstrip("0123456789")
    return stem, int(path.stem[len(stem) :] or 0)


def _load(path: Path) -> RSAPrivateKey:
    if path.stat().st_mode & 0o077:
        raise UnsafeKey(f"{path} can be read by others; chmod 0600 it")
    try:
        return signature.load_key(path.read_bytes())
    except ValueError as fault:
        raise UnsafeKey(f"{path}: {fault}") from None


def _make(path: Path) -> None:
    _write(path, signature.new_key())


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, durable, for its owner only; what root makes belongs to the owner of data_dir."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    files.give_to_owner_of(path.parent.parent.parent, unfinished, path.parent, path.parent.parent)
    unfinished.replace(path)
    files.sync(path.parent)
