"""Listening sockets, TCP and unix: all that are asked for or none, and the one that cannot be had is named.

A unix socket that nobody answers at any more is replaced; any other file at its path is left alone.
"""

import contextlib
import errno
import os
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path

Address = tuple[str, int] | str  # host (an IPv6 address without brackets) and port, or the path of a unix socket

WAITING = 512  # connections that may wait in the kernel


def bind_all(wanted: Sequence[tuple[str, Address]], *, mode: int | None = None) -> list[socket.socket]:
    """A bound socket for each (key of the setting, address); `mode` is that of unix sockets.

    OSError names the key, the address and what is wrong with it.
    """
    with contextlib.ExitStack() as undo:
        sockets = []
        for key, address in wanted:
            sockets.append(undo.enter_context(_bind(key, address, mode)))
            if isinstance(address, str):
                undo.callback(Path(address).unlink, missing_ok=True)
        undo.pop_all()
    return sockets


def shown(address: Address) -> str:
    """As the configuration writes it."""
    if isinstance(address, str):
        return f"unix:{address}"
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def name(bound: socket.socket) -> Address:
    """Where it really listens: port 0 has become one."""
    known = bound.getsockname()
    return known if isinstance(known, str) else (known[0], known[1])


def remove(bound: Iterable[Address]) -> None:
    """The files of unix sockets that we have bound."""
    for address in bound:
        if isinstance(address, str):
            Path(address).unlink(missing_ok=True)


def _bind(key: str, address: Address, mode: int | None) -> socket.socket:
    try:
        if isinstance(address, str):
            return _bind_path(Path(address), mode)
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        bound = socket.create_server(address, family=family, backlog=WAITING)
        # Connections inherit it; asyncio would set it only for sockets that were made with IPPROTO_TCP.
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return bound
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "is in use; is another daemon running?" if taken else (error.strerror or str(error))
        raise OSError(error.errno, f"{key}: cannot listen on {shown(address)}: {why}") from error


def _bind_path(path: Path, mode: int | None) -> socket.socket:
    with contextlib.ExitStack() as undo:
        bound = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        _remove_stale(path)
        bound.bind(str(path))
        if mode is not None:
            path.chmod(mode)
        bound.listen(WAITING)
        undo.pop_all()
    return bound


def _remove_stale(path: Path) -> None:
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        else:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
