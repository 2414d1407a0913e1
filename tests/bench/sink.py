"""An SMTP sink in a process of its own: it takes everything, and remembers who got what, and when.

    sink = Sink.start()
    sink.reset(sample=20)
    ... a program delivers to 127.0.0.1:sink.port ...
    sink.count()               how many copies so far
    sink.harvest()             every transaction, some of them whole

One thread, epoll, no event loop: what it costs the machine is taken from the programs that are measured beside it.
Times are those of the monotonic clock, in nanoseconds, which all processes of a machine share.
Sources: RFC 5321 as far as a relay speaks it, RFC 2920.
"""

import gc
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

CHUNK = 262_144  # bytes read at once
HEAD = 16_384  # bytes of a message in which its Message-ID stands
END = b"\r\n.\r\n"
OFFERS = b"250-sink.invalid\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"


@dataclass(frozen=True, slots=True)
class Taken:
    """One transaction: when its last byte was here, whose copy it was, and of which message."""

    at: int
    mail_from: str
    recipients: tuple[str, ...]
    message_id: str
    content: bytes | None  # as sent, for a sample


@dataclass(frozen=True, slots=True)
class Sink:
    """The process as its parent sees it."""

    process: subprocess.Popen[str]
    port: int

    @classmethod
    def start(cls) -> Self:
        command = [sys.executable, "-m", "tests.bench.sink"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        assert process.stdout
        return cls(process, int(process.stdout.readline()))

    def reset(self, *, sample: int = 0, delay: float = 0.0, quick: bool = False) -> None:
        """Forget everything.  Keep every `sample`th message whole; hold each reply back for `delay` seconds;
        `quick`: acknowledge every segment at once, for clients that would wait for that (Nagle's algorithm)."""
        self._ask(do="reset", sample=sample, delay=delay, quick=quick)

    def count(self) -> int:
        """Copies so far: one for each recipient of each transaction."""
        return int(self._ask(do="count")["copies"])

    def sessions(self) -> int:
        return int(self._ask(do="count")["sessions"])

    def harvest(self) -> list[Taken]:
        """All transactions since the last reset, in the order in which they ended."""
        with tempfile.TemporaryDirectory(prefix="listserv-bench-") as folder:
            path = Path(folder) / "taken"
            self._ask(do="write", path=str(path))
            return [_read(line) for line in path.read_text("utf-8").splitlines()]

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self.process.communicate()

    def _ask(self, **question: Any) -> dict[str, Any]:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


def _read(line: str) -> Taken:
    at, mail_from, recipients, message_id, content = json.loads(line)
    whole = None if content is None else content.encode("latin-1")
    return Taken(at, mail_from, tuple(recipients), message_id, whole)


@dataclass(slots=True)
class _Guest:
    """One connection, and the transaction that is open on it."""

    socket: socket.socket
    waiting: bytes = b""  # the beginning of a line
    in_data: bool = False
    tail: bytes = b""  # the last bytes of the content so far: its end may come in two pieces
    mail_from: bytes = b""
    recipients: list[bytes] = field(default_factory=list)
    parts: list[bytes] = field(default_factory=list)
    kept: int = 0
    whole: bool = False


@dataclass(slots=True)
class _Room:
    """What is behind the door."""

    epoll: select.epoll
    door: socket.socket
    guests: dict[int, _Guest] = field(default_factory=dict)
    taken: list[tuple[int, bytes, list[bytes], bytes, bytes | None]] = field(default_factory=list)
    late: deque[tuple[int, _Guest, bytes, bool]] = field(default_factory=deque)
    copies: int = 0
    messages: int = 0
    sessions: int = 0
    sample: int = 0
    delay: int = 0  # nanoseconds
    quick: bool = False

    def serve(self) -> None:
        """Until the parent closes our standard input."""
        control = sys.stdin.fileno()
        self.epoll.register(self.door, select.EPOLLIN)
        self.epoll.register(control, select.EPOLLIN)
        while True:
            patience = max(0.0, (self.late[0][0] - time.monotonic_ns()) / 1e9) if self.late else -1
            for number, _ in self.epoll.poll(patience):
                if guest := self.guests.get(number):
                    self._hear(guest)
                elif number == self.door.fileno():
                    self._welcome()
                elif not self._obey(control):
                    return
            while self.late and self.late[0][0] <= time.monotonic_ns():
                _, guest, reply, over = self.late.popleft()
                self._write(guest, reply, over)

    def _welcome(self) -> None:
        while True:
            try:
                connection, _ = self.door.accept()
            except BlockingIOError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            guest = self.guests[connection.fileno()] = _Guest(connection)
            self.epoll.register(connection, select.EPOLLIN)
            self.sessions += 1
            self._say(guest, b"220 sink.invalid ESMTP\r\n", over=False)

    def _hear(self, guest: _Guest) -> None:
        try:
            data = guest.socket.recv(CHUNK)
        except OSError:
            data = b""
        if not data:
            self._leave(guest)
            return
        if self.quick:
            guest.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        replies: list[bytes] = []
        over = False
        while data and not over:
            if guest.in_data:
                data = self._content(guest, data, replies)
            else:
                data, over = self._commands(guest, guest.waiting + data, replies)
        if replies:
            self._say(guest, b"".join(replies), over)

    def _commands(self, guest: _Guest, data: bytes, replies: list[bytes]) -> tuple[bytes, bool]:
        """What is left behind DATA; whether it said QUIT."""
        at = 0
        guest.waiting = b""
        while (end := data.find(b"\n", at)) >= 0:
            line, at = data[at:end], end + 1
            verb = line[:4].upper()
            if verb == b"RCPT":
                guest.recipients.append(_path(line))
                replies.append(b"250 2.1.5 Ok\r\n")
            elif verb == b"MAIL":
                guest.mail_from, guest.recipients = _path(line), []
                replies.append(b"250 2.1.0 Ok\r\n")
            elif verb == b"DATA" and guest.recipients:
                self._open(guest)
                replies.append(b"354 go on\r\n")
                return data[at:], False
            elif verb == b"EHLO":
                replies.append(OFFERS)
            elif verb == b"QUIT":
                replies.append(b"221 2.0.0 bye\r\n")
                return b"", True
            elif verb in (b"RSET", b"NOOP", b"HELO"):
                guest.recipients = []
                replies.append(b"250 2.0.0 Ok\r\n")
            else:
                replies.append(b"503 5.5.1 no\r\n")
        guest.waiting = data[at:]
        return b"", False

    def _open(self, guest: _Guest) -> None:
        guest.in_data, guest.tail, guest.parts, guest.kept = True, b"\r\n", [], 0
        guest.whole = self.sample > 0 and self.messages % self.sample == 0

    def _content(self, guest: _Guest, data: bytes, replies: list[bytes]) -> bytes:
        """What is left behind the final dot."""
        before = len(guest.tail)
        seen = guest.tail + data
        end = seen.find(END)
        used = len(data) if end < 0 else end + len(END) - before
        if guest.whole or guest.kept < HEAD:
            guest.parts.append(data[:used])
            guest.kept += used
        if end < 0:
            guest.tail = seen[-4:]
            return b""
        self._finish(guest)
        replies.append(b"250 2.0.0 Ok: taken\r\n")
        return data[used:]

    def _finish(self, guest: _Guest) -> None:
        content = b"".join(guest.parts)
        record = (time.monotonic_ns(), guest.mail_from, guest.recipients, _message_id(content))
        self.taken.append((*record, content[: -len(b".\r\n")] if guest.whole else None))
        self.copies += len(guest.recipients)
        self.messages += 1
        guest.in_data, guest.recipients, guest.parts = False, [], []

    def _say(self, guest: _Guest, reply: bytes, over: bool) -> None:
        if self.delay:
            self.late.append((time.monotonic_ns() + self.delay, guest, reply, over))
        else:
            self._write(guest, reply, over)

    def _write(self, guest: _Guest, reply: bytes, over: bool) -> None:
        try:
            guest.socket.sendall(reply)
        except OSError:
            over = True
        if over:
            self._leave(guest)

    def _leave(self, guest: _Guest) -> None:
        number = guest.socket.fileno()
        if number >= 0:
            del self.guests[number]
            self.epoll.unregister(number)
            guest.socket.close()

    def _obey(self, control: int) -> bool:
        """False when the parent has gone."""
        line = os.read(control, 4096)
        if not line:
            return False
        asked = json.loads(line)
        if asked["do"] == "reset":
            self.taken, self.copies, self.messages, self.sessions = [], 0, 0, len(self.guests)
            self.sample, self.delay, self.quick = asked["sample"], int(asked["delay"] * 1e9), asked["quick"]
        elif asked["do"] == "write":
            Path(asked["path"]).write_text("".join(map(_line, self.taken)), "utf-8")
        print(json.dumps({"copies": self.copies, "sessions": self.sessions}), flush=True)
        return True


def _path(line: bytes) -> bytes:
    return line[line.find(b"<") + 1 : line.find(b">")]


def _message_id(content: bytes) -> bytes:
    found = content.find(b"\nMessage-ID: ")
    return content[found + 13 : content.find(b"\r", found + 13)] if found >= 0 else b""


def _line(record: tuple[int, bytes, list[bytes], bytes, bytes | None]) -> str:
    at, mail_from, recipients, message_id, content = record
    whole = None if content is None else content.decode("latin-1")
    words = (at, mail_from.decode(), [each.decode() for each in recipients], message_id.decode(), whole)
    return json.dumps(words) + "\n"


def main() -> None:
    gc.disable()  # nothing here is a circle, and what is kept grows
    door = socket.create_server(("127.0.0.1", 0), backlog=4096)
    door.setblocking(False)
    room = _Room(select.epoll(), door)
    print(door.getsockname()[1], flush=True)
    room.serve()


if __name__ == "__main__":
    main()
