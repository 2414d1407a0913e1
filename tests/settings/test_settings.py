"""What the operator writes: defaults, rich values, overrides, and every fault at once."""

import tomllib
from dataclasses import fields
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listserv import settings
from listserv.model.address import Address
from listserv.settings import Faults, RelayTls, Settings, TcpPort, UnixSocket, find
from listserv.settings.kinds import is_loopback, shown
from listserv.settings.read import sections

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "config/listserv.toml"
WRONG = sorted((ROOT / "tests/config/wrong").glob("*.toml"))
EXAMPLES = sorted((ROOT / "config/examples").glob("*.toml"))
KEYS = [(section, name) for section, keys in sections(Settings).items() for name in keys]


def write(folder: Path, text: str) -> Path:
    path = folder / "listserv.toml"
    path.write_text(text)
    return path


def faults_of(path: Path, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(Faults) as raised:
        Settings.load(path, environ or {})
    assert str(raised.value).splitlines() == [str(fault) for fault in raised.value.faults], "one line for each"
    return [str(fault) for fault in raised.value.faults]


# The reference and the examples


def test_the_reference_names_every_key_with_its_default_in_the_order_of_the_code():
    written = tomllib.loads(REFERENCE.read_text())
    in_code = {
        section: {name: about.metadata["default"] for name, about in keys.items()}
        for section, keys in sections(Settings).items()
    }
    assert written == in_code
    assert [(section, list(keys)) for section, keys in written.items()] == [
        (section, list(keys)) for section, keys in in_code.items()
    ]


def test_the_reference_says_not_yet_of_exactly_the_keys_that_have_no_effect():
    section, comment, not_yet = "", "", set()
    for line in REFERENCE.read_text().partition("[site]")[2].splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line.startswith("#"):
            comment += line
        elif "=" in line:
            if "Not yet:" in comment:
                not_yet.add(f"{section}.{line.partition(' =')[0]}")
        else:
            comment = ""
    assert not_yet == set(settings.NOT_YET)
    assert not_yet <= {f"{section}.{name}" for section, name in KEYS}


def test_an_empty_file_is_the_defaults(tmp_path):
    assert Settings.load(write(tmp_path, ""), {}) == Settings.default(tmp_path)


@pytest.mark.parametrize("path", [REFERENCE, *EXAMPLES], ids=lambda path: path.name)
def test_the_files_that_operators_copy_have_no_faults(path):
    Settings.load(path, {})


# Values


def test_values_come_back_in_the_types_that_the_program_wants(tmp_path):
    (tmp_path / "smarthost.password").write_text("open sesame\nold: xyzzy\n")
    path = write(
        tmp_path,
        """
        [site]
        domains = ["Lists.Example.ORG", "bücher.example"]
        url = "https://lists.example.org/groups/"
        operators = ["Ada@Example.org"]
        [smtp]
        listen = ["[::1]:25", "LOCALHOST:0", "unix:run/smtp", "unix:/run/smtp"]
        trusted_networks = ["192.0.2.0/24", "2001:db8::/32", "192.0.2.7"]
        [dns]
        servers = ["[2001:db8::53]:53"]
        [relay]
        host = "mail.example.net"
        tls = "required"
        username = "lists"
        password_file = "smarthost.password"
        """,
    )
    found = Settings.load(path, {})
    assert found.site.domains == ("lists.example.org", "xn--bcher-kva.example")
    assert found.site.url == "https://lists.example.org/groups"
    assert found.site.operators == (Address("Ada", "example.org"),)
    assert found.smtp.listen == (
        TcpPort("::1", 25),
        TcpPort("localhost", 0),
        UnixSocket(tmp_path / "run/smtp"),
        UnixSocket(Path("/run/smtp")),
    )
    assert [str(listen) for listen in found.smtp.listen[:2]] == ["[::1]:25", "localhost:0"]
    assert found.smtp.trusted_networks == (
        ip_network("192.0.2.0/24"),
        ip_network("2001:db8::/32"),
        ip_network("192.0.2.7/32"),
    )
    assert found.dns.servers == (TcpPort("2001:db8::53", 53),)
    assert found.relay.tls is RelayTls.REQUIRED
    assert found.relay.password() == "open sesame"


def test_without_a_password_file_the_password_is_empty(tmp_path):
    assert Settings.default(tmp_path).relay.password() == ""


@pytest.mark.parametrize(
    ("data_dir", "url", "expected"),
    [
        (".", "sqlite:///listserv.db", "{folder}/listserv.db"),
        ("data", "sqlite:///listserv.db", "{folder}/data/listserv.db"),
        ("/srv/lists", "sqlite:///db/groups.db", "/srv/lists/db/groups.db"),
        ("data", "sqlite:////srv/groups.db", "/srv/groups.db"),
    ],
)
def test_data_dir_is_relative_to_the_file_and_the_database_to_data_dir(tmp_path, data_dir, url, expected):
    path = write(tmp_path, f'[database]\nurl = "{url}"\n[site]\ndata_dir = "{data_dir}"\n')
    assert Settings.load(path, {}).database.url == "sqlite:///" + expected.format(folder=tmp_path)


def test_a_relative_name_of_the_file_gives_absolute_paths(tmp_path, monkeypatch):
    write(tmp_path, "")
    monkeypatch.chdir(tmp_path)
    assert Settings.load(Path("listserv.toml"), {}).access_log.path == tmp_path / "log/access.log"


def test_the_access_log_is_a_link_and_stays_one(tmp_path):
    (tmp_path / "log").mkdir()
    (tmp_path / "log/access-2026-11-22.log").touch()
    (tmp_path / "log/access.log").symlink_to("access-2026-11-22.log")
    assert Settings.default(tmp_path).access_log.path.name == "access.log"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://ada@db.example.org/lists", "postgresql+psycopg://ada@db.example.org/lists"),
        ("postgresql+psycopg://ada:x@[::1]:5432/lists", "postgresql+psycopg://ada:x@[::1]:5432/lists"),
        ("postgresql+psycopg:///lists?host=/run/postgresql", "postgresql+psycopg:///lists?host=/run/postgresql"),
    ],
)
def test_postgresql_has_one_driver(tmp_path, url, expected):
    assert Settings.default(tmp_path, {"database": {"url": url}}).database.url == expected


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///a.db?mode=ro",
        "postgresql+asyncpg://db/lists",
        "postgresql://db",
        "postgresql://db:99999/lists",
        "postgresql://[db/lists",
        "lists.db",
    ],
)
def test_what_is_no_database_of_ours_is_refused(tmp_path, url):
    with pytest.raises(Faults):
        Settings.default(tmp_path, {"database": {"url": url}})


@pytest.mark.parametrize(
    ("url", "accepted"),
    [
        ("https://lists.example.org", True),
        ("http://localhost:8080", True),
        ("http://127.1.2.3", True),
        ("http://[::1]:8080/", True),
        ("http://lists.example.org", False),
        ("http://10.0.0.1", False),
        ("ftp://lists.example.org", False),
        ("https://", False),
        ("https://lists.example.org/?a", False),
        ("https://lists.example.org/#a", False),
        ("https://ada@lists.example.org", False),
        ("https://lists.example.org:port", False),
        ("https://lists example.org", False),
        ("https://[::1", False),
        ("lists.example.org", False),
    ],
)
def test_links_are_https_unless_they_do_not_leave_the_machine(tmp_path, url, accepted):
    changes = {"site": {"url": url}}
    if accepted:
        assert Settings.default(tmp_path, changes).site.url == url.rstrip("/")
    else:
        with pytest.raises(Faults, match=r"\[site\] url"):
            Settings.default(tmp_path, changes)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("a.localhost", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("example.org", False),
        ("", False),
    ],
)
def test_loopback_is_what_does_not_leave_the_machine(host, expected):
    assert is_loopback(host) is expected


# Faults


@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.stem)
def test_a_wrong_file_gets_the_lines_that_stand_at_its_head(path):
    expected = [line.removeprefix("#> ") for line in path.read_text().splitlines() if line.startswith("#> ")]
    found = [fault.removeprefix(str(path)).removeprefix(": ") for fault in faults_of(path)]
    assert len(found) == len(expected)
    for line, wanted in zip(found, expected, strict=True):
        wanted = wanted.replace("{folder}", str(path.parent))
        # The words after “not TOML” are Python's.
        assert line.startswith(wanted.removesuffix("…")) if wanted.endswith("not TOML: …") else line == wanted


def test_each_fault_has_a_wrong_file():
    assert len(WRONG) >= 18


def test_a_missing_file_is_one_line(tmp_path):
    path = tmp_path / "listserv.toml"
    assert faults_of(path) == [f"{path}: cannot be read: No such file or directory"]


def test_a_file_that_is_not_utf_8_is_named_with_its_line(tmp_path):
    path = tmp_path / "listserv.toml"
    path.write_bytes(b'[site]\r\nname = "B\xfccher"\r\n')
    assert faults_of(path) == [f"{path}, line 2: is not UTF-8"]


def test_a_byte_order_mark_and_carriage_returns_do_no_harm(tmp_path):
    path = tmp_path / "listserv.toml"
    path.write_bytes(b'\xef\xbb\xbf[site]\r\nname = "Here"\r\n')
    assert Settings.load(path, {}).site.name == "Here"


def test_deep_nesting_is_a_fault(tmp_path):
    path = write(tmp_path, "[site]\noperators = " + "[" * 100_000)
    assert len(faults_of(path)) == 1


def test_no_password_is_shown(tmp_path):
    path = write(tmp_path, '[database]\nurl = "mysql://ada:geheim@db/lists"')
    assert "geheim" not in faults_of(path)[0]
    path = write(tmp_path, '[database]\nurl = "mysql://db/lists?password=geheim&sslpassword=geheim"')
    assert "geheim" not in faults_of(path)[0]
    good = Settings.default(tmp_path, {"database": {"url": "postgresql://ada:geheim@db/lists"}})
    assert "geheim" not in repr(good)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
def test_any_value_of_any_key_is_accepted_or_is_one_line(value: Any):
    everywhere = {section: dict.fromkeys(keys, value) for section, keys in sections(Settings).items()}
    with pytest.raises(Faults) as raised:  # no value suits every key
        Settings.default(Path("/nowhere"), everywhere)
    for fault in raised.value.faults:
        assert len(str(fault).splitlines()) == 1
        assert fault.key.startswith("[")


@given(st.text())
def test_any_key_is_named_on_one_line(name):
    with pytest.raises(Faults) as raised:
        Settings.default(Path("/nowhere"), {"smtp": {name: 1}})
    assert len(str(raised.value).splitlines()) == 1


@given(st.text())
def test_what_is_shown_of_a_value_is_short(text):
    assert len(shown(text)) <= 80


# The environment


@pytest.mark.parametrize(("section", "name"), KEYS)
def test_every_key_can_be_overridden(tmp_path, section, name):
    variable = f"LISTSERV_{section.upper()}__{name.upper()}"
    (fault,) = faults_of(write(tmp_path, ""), {variable: "[{}]"})
    assert fault.startswith(f"{variable}: [{section}] {name}: ")


def test_the_environment_wins_over_the_file(tmp_path):
    path = write(tmp_path, "[smtp]\nmax_recipients = 5\nmax_connections = 6\n")
    found = Settings.load(path, {"LISTSERV_SMTP__MAX_RECIPIENTS": "7", "LISTSERV_SITE__NAME": '"Hier"'})
    assert (found.smtp.max_recipients, found.smtp.max_connections, found.site.name) == (7, 6, "Hier")


def test_other_variables_are_ignored(tmp_path):
    environ = {
        "LISTSERV_CONFIG": "x",
        "LISTSERV_NAME": "1",
        "XLISTSERV_SMTP__LISTEN": "1",
        "listserv_smtp__listen": "1",
    }
    assert Settings.load(write(tmp_path, ""), environ) == Settings.default(tmp_path)


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("LISTSERV_SITE__NAME", "Hier", '[site] name: "Hier" is not a TOML value (a string needs its quotes)'),
        (
            "LISTSERV_SITE__NAME",
            '"a"\nb = 1',
            r'[site] name: "\"a\"\nb = 1" is not a TOML value (a string needs its quotes)',
        ),
        ("LISTSERV_SMTP__PORT", "25", "[smtp] port: unknown key; did you mean [relay] port?"),
        ("LISTSERV_SMPT__LISTEN", "[]", "[smpt]: unknown section; did you mean [smtp]?"),
        ("LISTSERV_RELAY__PASSWORD_FILE", '""', ""),
    ],
)
def test_a_fault_in_the_environment_is_named_by_its_variable(tmp_path, variable, text, expected):
    path = write(tmp_path, "")
    if expected:
        assert faults_of(path, {variable: text}) == [f"{variable}: {expected}"]
    else:
        Settings.load(path, {variable: text})


def test_a_conflict_is_named_where_its_first_value_stands(tmp_path):
    path = write(tmp_path, '[smtp]\nlisten = ["127.0.0.1:8025"]\n')
    (fault,) = faults_of(path, {"LISTSERV_HTTP__LISTEN": '["127.0.0.1:8025"]'})
    assert fault.startswith("LISTSERV_HTTP__LISTEN: [http] listen: 127.0.0.1:8025 is taken")


# Combinations


def test_a_password_may_go_to_this_very_machine(tmp_path):
    (tmp_path / "password").write_text("x")
    Settings.default(tmp_path, {"relay": {"username": "a", "password_file": "password", "port": 2525, "tls": "none"}})


def test_any_free_port_may_be_asked_for_twice(tmp_path):
    free = {"listen": ["127.0.0.1:0"]}
    Settings.default(tmp_path, {"smtp": free, "lmtp": free, "http": free})


@pytest.mark.parametrize(
    ("listen", "host", "port", "ours"),
    [
        ("127.0.0.1:25", "127.0.0.1", 25, True),
        ("0.0.0.0:25", "localhost", 25, True),
        ("[::]:25", "::1", 25, True),
        ("192.0.2.1:25", "192.0.2.1", 25, True),
        ("[::1]:25", "localhost", 25, True),
        ("127.0.0.2:25", "127.0.0.1", 25, False),
        ("192.0.2.1:25", "127.0.0.1", 25, False),
        ("127.0.0.1:25", "127.0.0.1", 2525, False),
        ("127.0.0.1:25", "mail.example.net", 25, False),
        ("unix:25", "127.0.0.1", 25, False),
    ],
)
def test_what_we_send_does_not_come_back_to_our_own_door(tmp_path, listen, host, port, ours):
    changes = {"smtp": {"listen": [listen]}, "relay": {"host": host, "port": port}}
    if ours:
        with pytest.raises(Faults, match="circles"):
            Settings.default(tmp_path, changes)
    else:
        Settings.default(tmp_path, changes)


# Which file


def test_the_file_is_looked_for_in_the_promised_order(tmp_path):
    first, second = tmp_path / "listserv.toml", tmp_path / "var/listserv.toml"
    second.parent.mkdir()
    second.touch()
    assert find(None, {}, tmp_path) == second
    first.touch()
    assert find(None, {}, tmp_path) == first
    assert find(None, {"LISTSERV_CONFIG": "/b.toml"}, tmp_path) == Path("/b.toml")
    assert find(Path("a.toml"), {"LISTSERV_CONFIG": "/b.toml"}, tmp_path) == Path("a.toml")


def test_without_a_file_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "PLACES", settings.PLACES[:2])  # the machine may have one in /etc
    assert find(None, {"LISTSERV_CONFIG": ""}, tmp_path) is None


def test_every_section_is_a_class_of_its_own():
    assert [field.name for field in fields(Settings)] == list(sections(Settings))


def test_what_waits_for_a_restart_is_named_and_what_does_not_is_not(tmp_path):
    before = Settings.load(write(tmp_path, ""), {})
    text = '[smtp]\nmax_recipients = 3\nlisten = ["127.0.0.1:2525"]\n[relay]\nhost = "10.0.0.1"\n'
    after = Settings.load(write(tmp_path, text), {})
    assert before.waits_for_restart(after) == ["[smtp] listen", "[relay] host"]
    assert not after.waits_for_restart(after)
