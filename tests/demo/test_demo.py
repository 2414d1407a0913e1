"""`scripts/run --demo`: the printed commands are run as typed, what arrives is printed, and nothing stays behind."""

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

SECONDS = 60.0  # for one line that has to come


@dataclass
class Demo:
    """The running demo as somebody at the terminal sees it."""

    process: subprocess.Popen[str]
    seen: list[str] = field(default_factory=list)
    lines: "queue.SimpleQueue[str]" = field(default_factory=queue.SimpleQueue)

    def until(self, wanted: Callable[[list[str]], bool]) -> list[str]:
        """All lines so far, as soon as they are what is wanted."""
        while not wanted(self.seen):
            self.seen.append(self.lines.get(timeout=SECONDS))
        return self.seen

    def commands(self, number: int) -> list[str]:
        """The first so many commands."""
        self.until(lambda lines: sum(line.startswith("$ ") for line in lines) >= number)
        return [line[2:] for line in self.seen if line.startswith("$ ")][:number]

    def delivered(self, number: int) -> list[str]:
        self.until(lambda lines: sum(line.startswith("delivered to ") for line in lines) >= number)
        return [line for line in self.seen if line.startswith("delivered to ")]

    def type(self, command: str) -> str:
        """What it prints, typed in another terminal: another folder, nothing in the environment but HOME and PATH."""
        bare = {"PATH": "/usr/bin:/bin", "HOME": "/"}
        done = subprocess.run(["sh", "-c", command], cwd="/", env=bare, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done
        return done.stdout


@contextmanager
def demo(tmp_path: Path) -> Iterator[Demo]:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "listserv.demo"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=environment, start_new_session=True,
    )  # fmt: skip
    here = Demo(process)
    assert process.stdout is not None
    stream = process.stdout

    def read() -> None:
        for line in stream:
            here.lines.put(line.rstrip("\n"))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield here
    finally:
        process.kill()
        process.wait()
        reader.join()
        stream.close()


def test_the_printed_commands_work_as_typed_and_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    with demo(tmp_path) as here:
        post, held, *operator = here.commands(4)

        # the first posts as a member and reaches all three
        assert "accepted as post 1" in here.type(post)
        subject = "Shall we sail on Sunday?"
        assert sorted(here.delivered(3)) == [
            f"delivered to {to}: {subject}" for to in ("ada@example.net", "bob@example.com", "cy@example.org")
        ]

        # the second is held, and the approval command comes with the admin's notice
        assert "held for the admins" in here.type(held)
        approve = here.commands(5)[4]
        notice = next(line for line in here.seen if line.startswith("delivered to ruth@example.net"))
        assert "The crane is broken" in notice

        # what the operator sees
        hold_list, status = operator
        assert "The crane is broken" in here.type(hold_list)
        assert "held    1" in here.type(status)

        # the admin's reply lets it through to the members
        here.type(approve)
        broken = {
            f"delivered to {to}: The crane is broken" for to in ("ada@example.net", "bob@example.com", "cy@example.org")
        }
        here.until(lambda lines: broken <= set(lines))

        # a second post by the same command is another post
        assert "accepted as post 2" in here.type(post)

        # Ctrl-C leaves nothing behind
        [folder] = tmp_path.iterdir()
        os.killpg(here.process.pid, signal.SIGINT)
        assert here.process.wait(40) == 0
        assert not folder.exists()
        assert not [line for line in here.seen if "Traceback" in line or "ERROR" in line]
        assert [line for line in here.seen if "approve-" in line] == [f"$ {approve}"]


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_every_ending_removes_the_folder(tmp_path: Path, ending: signal.Signals) -> None:
    with demo(tmp_path) as here:
        if ending is not signal.SIGINT:  # that one comes while the demo is still being set up
            here.commands(2)
        else:
            while not list(tmp_path.iterdir()):
                assert here.process.poll() is None
        here.process.send_signal(ending)
        assert here.process.wait(40) == 0
        assert list(tmp_path.iterdir()) == []
