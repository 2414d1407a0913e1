"""Posts by SMTP or LMTP over several sessions at once, with the time of each.

    sent = load.send(door, messages, sessions=10)
    sent[0].reply, sent[0].seconds

A client like an MTA: it pipelines where the server offers it (RFC 2920) and keeps its connections.
Times are those of the monotonic clock, in nanoseconds.
"""

import select
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class Door:
    """Where a program takes mail."""

    port: int
    lmtp: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """Content as it goes over the wire: CRLF, dots doubled, without the final one."""

    author: str
    group: str
    id: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Sent:
    """One message: when its transaction began, when its content was written, when it was answered for, and how."""

    message: Message
    began: int
    ended: int
    answered: int
    reply: str

    @property
    def taken(self) -> bool:
        return self.reply.startswith("250")

    @property
    def seconds(self) -> float:
        return (self.answered - self.began) / 1e9


@dataclass(slots=True)
class _Session:
    socket: socket.socket
    steps: Iterator[int] = field(default_factory=lambda: iter(()))  # each: how many replies it waits for
    heard: bytes = b""
    replies: list[bytes] = field(default_factory=list)
    wanted: int = 0


def send(door: Door, messages: Sequence[Message], sessions: int = 1, patience: float = 120.0) -> list[Sent]:
    """One Sent for each message, in the order of their answers.  TimeoutError after so many seconds of silence."""
    waiting = iter(messages)
    sent: list[Sent] = []
    epoll = select.epoll()
    open_: dict[int, _Session] = {}
    for _ in range(min(sessions, len(messages))):
        session = _Session(_connect(door.port, patience))
        session.steps = _dialogue(session, door, waiting, sent)
        session.wanted = next(session.steps)
        open_[session.socket.fileno()] = session
        epoll.register(session.socket, select.EPOLLIN)
    try:
        while open_:
            ready = epoll.poll(patience)
            if not ready:
                raise TimeoutError(f"no answer for {patience:g} s; {len(sent)} of {len(messages)} were sent")
            for number, _ in ready:
                if not _go_on(open_[number]):
                    epoll.unregister(number)
                    open_.pop(number).socket.close()
    finally:
        for session in open_.values():
            session.socket.close()
        epoll.close()
    return sent


def _connect(port: int, patience: float) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), patience)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _go_on(session: _Session) -> bool:
    """What came in is heard, and answered; False when the session is over."""
    data = session.socket.recv(CHUNK)
    if not data:
        raise ConnectionError(f"the server hung up after {session.heard + b' '.join(session.replies)!r}")
    lines = (session.heard + data).split(b"\n")
    session.heard = lines.pop()
    session.replies += [line for line in lines if line[3:4] != b"-" or b"PIPELINING" in line]
    finals = sum(line[3:4] != b"-" for line in session.replies)
    if finals < session.wanted:
        return True
    try:
        session.wanted = next(session.steps)
    except StopIteration:
        return False
    return True


def _dialogue(session: _Session, door: Door, waiting: Iterator[Message], sent: list[Sent]) -> Iterator[int]:
    """The conversation; each yield waits for so many replies, which are then in `replies`."""
    say, heard = session.socket.sendall, session.replies
    yield 1
    heard.clear()
    say(b"LHLO load.invalid\r\n" if door.lmtp else b"EHLO load.invalid\r\n")
    yield 1
    together = any(b"PIPELINING" in line for line in heard)
    for message in waiting:
        heard.clear()
        began = ended = time.monotonic_ns()
        commands = [f"MAIL FROM:<{message.author}>\r\n", f"RCPT TO:<{message.group}>\r\n", "DATA\r\n"]
        for step in ["".join(commands)] if together else commands:
            say(step.encode())
            yield len(heard) + step.count("\n")
        if heard[-1].startswith(b"354"):
            heard.clear()
            ended = time.monotonic_ns()
            say(message.content + b".\r\n")
            yield 1
        sent.append(Sent(message, began, ended, time.monotonic_ns(), heard[-1].decode("utf-8", "replace").strip()))
    heard.clear()
    say(b"QUIT\r\n")
    yield 1
