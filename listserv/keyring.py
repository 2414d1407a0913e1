"""DKIM keys as files: one folder a domain under data_dir/dkim, one PEM file a selector.

A key is made on first use.  A file that others may read is refused: whoever has it can sign as us.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from listserv.mail import signature
from listserv.mail.signature import Signer


class UnsafeKey(Exception):
    """A key file that is readable by others, or no key."""


@dataclass(frozen=True, slots=True)
class Keyring:
    """The signing key of each domain, and the names of all keys that ever signed here."""

    signers: dict[str, Signer]
    names: frozenset[tuple[str, str]]  # (domain, selector)


def open(folder: Path, domains: Iterable[str], selector: str) -> Keyring:
    """Load what is there, make what is missing.  Raises UnsafeKey or OSError."""
    signers, names = {}, set()
    for domain in domains:
        path = folder / domain / f"{selector}.pem"
        if not path.exists():
            _make(path)
        signers[domain] = Signer(_load(path), domain, selector)
        names |= {(domain, found.stem) for found in path.parent.glob("*.pem")}
    return Keyring(signers, frozenset(names))


def _load(path: Path) -> RSAPrivateKey:
    if path.stat().st_mode & 0o077:
        raise UnsafeKey(f"{path} can be read by others; chmod 0600 it")
    try:
        return signature.load_key(path.read_bytes())
    except ValueError as fault:
        raise UnsafeKey(f"{path}: {fault}") from None


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    owner = path.parent.parent.parent.stat()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(signature.new_key())
        file.flush()
        os.fsync(descriptor)
    if os.geteuid() == 0:
        for made in (path, path.parent, path.parent.parent):
            os.chown(made, owner.st_uid, owner.st_gid)
