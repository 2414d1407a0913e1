"""`listserv init`: a configuration, what belongs to it, and the records to publish."""

from pathlib import Path

import dns.zone
import pytest
from click.testing import CliRunner, Result

from listserv.cli.main import main
from listserv.settings import Settings


def init(*args: str) -> Result:
    return CliRunner().invoke(main, ["init", *args], catch_exceptions=False)


def test_it_makes_all_that_a_daemon_needs(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    result = init("--dir", str(folder), "--domain", "Groups.Example.NET")
    assert result.exit_code == 0, result.output
    settings = Settings.load(folder / "listserv.toml", {})
    assert settings.site.domains == ("groups.example.net",)
    assert settings.site.hostname == "groups.example.net"
    assert (folder / "listserv.db").stat().st_mode & 0o777 == 0o600
    assert (folder / "dkim" / "groups.example.net" / "ls1.pem").stat().st_mode & 0o777 == 0o600
    assert (folder / "listserv.toml").stat().st_mode & 0o777 == 0o640


def test_the_printed_records_are_lines_of_a_zone_file(tmp_path: Path) -> None:
    printed = init("--dir", str(tmp_path), "--domain", "groups.example.net").stdout
    lines = [line for line in printed.splitlines() if " IN " in line]
    zone = dns.zone.from_text(
        "\n".join(["$TTL 3600", *lines]), origin="example.net.", relativize=False, check_origin=False
    )
    records = {
        f"{name} {dns.rdatatype.to_text(kind.rdtype)}": kind.to_text() for name, node in zone.items() for kind in node
    }
    assert set(records) == {
        "groups.example.net. MX", "groups.example.net. TXT", "_dmarc.groups.example.net. TXT",
        "ls1._domainkey.groups.example.net. TXT",
    }  # fmt: skip
    assert "10 groups.example.net." in records["groups.example.net. MX"]
    assert "v=DKIM1; k=rsa; p=MII" in records["ls1._domainkey.groups.example.net. TXT"]


def test_the_configuration_says_only_what_differs(tmp_path: Path) -> None:
    init("--dir", str(tmp_path), "--domain", "groups.example.net")
    lines = (tmp_path / "listserv.toml").read_text().splitlines()
    said = [line.partition("#")[0].strip() for line in lines if not line.startswith(("#", "["))]
    assert [line for line in said if line] == ['hostname = "groups.example.net"', 'domains = ["groups.example.net"]']
    reference = Path(lines[1].removeprefix("# "))
    assert reference.is_file()


def test_an_existing_configuration_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "listserv.toml").write_text("# mine\n")
    result = init("--dir", str(tmp_path))
    assert result.exit_code == 1
    assert result.stderr == f"Error: {tmp_path / 'listserv.toml'} is there already; nothing has changed\n"
    assert (tmp_path / "listserv.toml").read_text() == "# mine\n"
    assert not (tmp_path / "listserv.db").exists()


def test_what_fails_leaves_no_configuration_behind(tmp_path: Path) -> None:
    (tmp_path / "dkim").write_text("in the way")
    assert init("--dir", str(tmp_path)).exit_code == 1
    assert not (tmp_path / "listserv.toml").exists()


@pytest.mark.parametrize("domain", ["no domain", "-x.example", "", "a..b"])
def test_a_domain_that_is_none_is_wrong_usage(tmp_path: Path, domain: str) -> None:
    assert init("--dir", str(tmp_path), "--domain", domain).exit_code == 2
    assert list(tmp_path.iterdir()) == []
