"""`listserv run` as a process: ready, serving, reading anew, ending; and what keeps it from starting."""

import logging
import os
import re
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError

from listserv.cli.running import OneLine
from listserv.store.db import Database

PROGRAM = [sys.executable, "-c", "from listserv.cli.main import main; main()"]
CONFIG = """
[site]
hostname = "lists.example"
domains = ["lists.example"]
[smtp]
authenticate = false
listen = ["127.0.0.1:{smtp}"]
[http]
listen = ["127.0.0.1:{http}"]
"""


def free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return int(one.getsockname()[1]), int(other.getsockname()[1])


def configured(folder: Path, keys: Path, smtp: int, http: int) -> Path:
    folder.mkdir(exist_ok=True)
    shutil.copytree(keys, folder / "dkim")
    path = folder / "listserv.toml"
    path.write_text(CONFIG.format(smtp=smtp, http=http))
    return path


@contextmanager
def running(config: Path, *args: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The daemon and its line "ready …"; killed at the end if it is still there."""
    process = subprocess.Popen(
        [*PROGRAM, "--config", str(config), "run", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline()
    finally:
        process.kill()
        process.communicate()


def refused(config: Path, *args: str) -> str:
    """The one line that it says instead of being ready."""
    done = subprocess.run(
        [*PROGRAM, "--config", str(config), "run", *args], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (1, ""), done
    [line] = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_listens_and_ends_cleanly(tmp_path: Path, keys: Path, ending: signal.Signals) -> None:
    smtp, http = free_ports()
    with running(configured(tmp_path / "a", keys, smtp, http)) as (process, ready):
        assert ready == "ready\n"
        with smtplib.SMTP("127.0.0.1", smtp) as client:
            assert client.ehlo()[0] == 250
            assert client.docmd("MAIL FROM:<ada@a.example>")[0] == 250
            assert client.docmd("RCPT TO:<nobody@lists.example>")[0] == 550
        process.send_signal(ending)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out) == (0, "")
        assert f"listening: smtp 127.0.0.1:{smtp}\n" in err
        assert f"listening: http 127.0.0.1:{http}\n" in err
        assert "Traceback" not in err
        assert "Aborted" not in err


def test_a_second_daemon_is_refused_in_one_line(tmp_path: Path, keys: Path) -> None:
    smtp, http = free_ports()
    config = configured(tmp_path / "a", keys, smtp, http)
    other = configured(tmp_path / "b", keys, smtp, http)
    with running(config) as (process, _):
        assert "another listserv daemon runs on" in refused(config)
        line = refused(other)
        assert f"[smtp] listen: cannot listen on 127.0.0.1:{smtp}: is in use" in line
        assert process.poll() is None


def test_a_role_opens_only_its_own_doors(tmp_path: Path, keys: Path) -> None:
    smtp, http = free_ports()
    config = configured(tmp_path / "a", keys, smtp, http)
    with running(config, "--role", "delivery") as (_, ready):
        assert ready == "ready\n"
        with pytest.raises(OSError), smtplib.SMTP("127.0.0.1", smtp):
            pass
        with running(config, "--role", "smtp"), smtplib.SMTP("127.0.0.1", smtp) as client:
            assert client.ehlo()[0] == 250


def test_who_does_not_sign_needs_no_key_and_who_takes_no_mail_needs_no_certificate(tmp_path: Path, keys: Path) -> None:
    smtp, http = free_ports()
    config = configured(tmp_path / "a", keys, smtp, http)
    folder = tmp_path / "a" / "dkim"
    key = next(folder.glob("lists.example/*.pem"))

    # given a key that would be refused, and then no folder for keys at all
    key.chmod(0o644)
    with running(config, "--role", "smtp") as (_, ready), smtplib.SMTP("127.0.0.1", smtp) as client:
        assert (ready, client.ehlo()[0]) == ("ready\n", 250)
    assert f"{key} can be read by others" in refused(config, "--role", "delivery")
    key.chmod(0o640)  # the group is others too
    assert f"{key} can be read by others" in refused(config, "--role", "delivery")
    shutil.rmtree(folder)
    for role in ("smtp", "web"):
        with running(config, "--role", role) as (_, ready):
            assert ready == "ready\n"
    assert not folder.exists()

    # given a certificate that is none
    junk = tmp_path / "a" / "junk.pem"
    junk.write_text("no certificate\n")
    junk.chmod(0o600)
    config.write_text(config.read_text().replace("[smtp]", f'[smtp]\ntls_cert = "{junk}"\ntls_key = "{junk}"'))
    assert "[smtp] tls_cert" in refused(config, "--role", "smtp")
    with running(config, "--role", "delivery") as (_, ready):
        assert ready == "ready\n"


def test_hanging_up_reads_anew_and_a_wrong_file_changes_nothing(tmp_path: Path, keys: Path) -> None:
    smtp, http = free_ports()
    config = configured(tmp_path / "a", keys, smtp, http)
    with running(config) as (process, _):
        assert process.stderr is not None
        assert all("listening" in process.stderr.readline() for _ in range(2))
        good = config.read_text()
        config.write_text(good.replace("[smtp]", "[smtp]\nmax_recipients = 0"))
        process.send_signal(signal.SIGHUP)
        assert re.search(r"ERROR listserv: not read anew: .*max_recipients", process.stderr.readline())
        config.write_text(good.replace("[smtp]", "[smtp]\nmax_message_bytes = 4321"))
        process.send_signal(signal.SIGHUP)
        assert "read anew" in process.stderr.readline()
        with smtplib.SMTP("127.0.0.1", smtp) as client:
            client.ehlo()
            assert client.esmtp_features["size"] == "4321"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_what_is_wrong_at_the_start_is_one_line(tmp_path: Path, keys: Path) -> None:
    smtp, http = free_ports()
    config = configured(tmp_path / "a", keys, smtp, http)
    (tmp_path / "a" / "key.pem").write_text("no key")
    good = config.read_text()
    config.write_text(good.replace("[smtp]", '[smtp]\ntls_cert = "key.pem"\ntls_key = "key.pem"'))
    (tmp_path / "a" / "key.pem").chmod(0o644)
    assert "[smtp] tls_key: " in (said := refused(config))
    assert "can be read by everybody" in said
    (tmp_path / "a" / "key.pem").chmod(0o640)
    assert refused(config).startswith("Error: [smtp] tls_cert: ")
    config.write_text(good + '[relay]\nusername = "a"\npassword_file = "key.pem"\n')
    (tmp_path / "a" / "key.pem").chmod(0o644)
    assert refused(config).startswith("Error: [relay] password_file: ")
    config.write_text(good)
    pem = tmp_path / "a" / "dkim" / "lists.example" / "ls1.pem"
    pem.chmod(0o644)
    assert refused(config) == f"Error: {pem} can be read by others; chmod 0600 it"
    config.write_text("[site]\nnonsense = 1\n")
    assert "[site] nonsense: unknown key" in refused(config)


def test_a_log_record_is_one_line_and_its_traceback_is_indented() -> None:
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        record = logging.LogRecord("listserv", logging.ERROR, "", 1, "a\r\n%s\x1b[31m", ("b",), sys.exc_info())
    first, *others = OneLine().format(record).splitlines()
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ERROR listserv: a  b \[31m\Z", first)
    assert others
    assert all(line.startswith("    ") for line in others)
    assert os.linesep not in first


def logged(url: str, statement: str) -> list[str]:
    """The lines of the log about a statement that fails."""
    database = Database(url)
    try:
        database.read_now(lambda tx: tx.exec_driver_sql(statement))
    except DBAPIError:
        record = logging.LogRecord("listserv", logging.ERROR, "", 1, "the clerk failed", (), sys.exc_info())
        return OneLine().format(record).splitlines()
    finally:
        database.close()
    raise AssertionError("it did not fail")


def test_a_database_that_is_away_is_one_line_of_the_log_and_a_fault_of_ours_is_its_traceback(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    away = logged(f"postgresql+psycopg://x@127.0.0.1:{port}/x", "SELECT 1")
    assert len(away) == 2
    assert away[1].startswith("    the database: connection failed: ")
    ours = logged(f"sqlite:///{tmp_path}/x.db", "SELECT nothing FROM nowhere")
    assert "Traceback" in ours[1]
