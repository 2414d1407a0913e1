"""What operators do wrong: one clear line, exit code 1, no traceback, nothing lost."""

import subprocess
import sys
from pathlib import Path

from sqlalchemy import text

from tests.kit.process import ROOT, Process, environment, process, toml
from tests.kit.world import World


def run(config: Path, *arguments: str) -> str:
    """The one line with which it ends."""
    command = [sys.executable, "-m", "listserv", "--config", str(config), *(arguments or ("run",))]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1, done
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def other(folder: Path, listen: str, url: str = "sqlite:///listserv.db") -> Path:
    """The configuration of a second daemon, with a folder of its own."""
    folder.mkdir(exist_ok=True)
    config = folder / "listserv.toml"
    site = {"hostname": "lists.example", "domains": ["lists.example"]}
    config.write_text(
        toml(
            {
                "site": site,
                "database": {"url": url},
                "smtp": {"listen": [listen], "authenticate": False},
                "http": {"listen": []},
            }
        )
    )
    return config


def one_row(there: Process, statement: str) -> None:
    there.work(lambda tx: tx.execute(text(statement)))


async def test_a_second_daemon_is_turned_away(folder: Path) -> None:
    async with World() as world, process("sqlite:///listserv.db", folder, world) as there:
        door = other(folder / "second", f"unix:{folder}/smtp")
        said = run(door)
        assert "[smtp] listen: cannot listen on" in said
        assert "is in use" in said
        assert "another listserv daemon" in run(there.config)
        assert (await (await there.enter()).say("NOOP")).startswith("250")  # the first one has not noticed


async def test_a_newer_database_is_left_alone(url: str, folder: Path) -> None:
    async with World() as world, process(url, folder, world, start=False) as there:
        one_row(there, "UPDATE alembic_version SET version_num = '9999'")
        said = run(there.config)
        assert "9999" in said
        assert "newer" in said


async def test_a_key_that_all_may_read_or_nobody_can_is_refused(folder: Path) -> None:
    async with World() as world, process("sqlite:///listserv.db", folder, world) as there:
        assert await there.stop() == 0
        key = next(path for path in (folder / "dkim").rglob("*") if path.is_file() and b"PRIVATE" in path.read_bytes())
        key.chmod(0o644)
        assert str(key) in run(there.config)
        key.chmod(0o600)
        good = key.read_bytes()
        key.write_bytes(b"no key at all\n")
        assert str(key) in run(there.config)
        key.write_bytes(good)
        await there.start()


async def test_what_is_not_there_is_named(folder: Path) -> None:
    async with World() as world, process("sqlite:///listserv.db", folder, world, start=False) as there:
        good = there.config.read_text()
        there.config.write_text(good.replace("[site]", '[site]\ndata_dir = "/dev/null/nowhere"'))
        assert "/dev/null/nowhere" in run(there.config)
        there.config.write_text(good.replace(there.url, "sqlite:////dev/null/listserv.db"))
        assert "[database] url" in run(there.config) or "/dev/null" in run(there.config)
        there.config.write_text(good.replace(there.url, "postgresql+psycopg://nobody@127.0.0.1:1/none"))
        assert "[database] url" in run(there.config)
        there.config.write_text(good.replace(there.url, "mysql://nobody@127.0.0.1:1/none"))
        assert "[database] url" in run(there.config)
