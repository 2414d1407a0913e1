"""A person at a shell: the real command on a real database in a folder of its own."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from listserv.cli.main import Place, main
from listserv.node import Node
from listserv.settings import Settings

CONFIG = """
[site]
hostname = "lists.example"
domains = ["lists.example", "other.example"]
[database]
url = "{url}"
"""


@dataclass(frozen=True)
class Shell:
    folder: Path
    environment: Mapping[str, str] = field(default_factory=lambda: {"LISTSERV_SMTP__AUTHENTICATE": "false"})

    @classmethod
    def at(cls, folder: Path, url: str, keys: Path) -> "Shell":
        """`keys` has DKIM keys that were made once for all tests."""
        (folder / "listserv.toml").write_text(CONFIG.format(url=url))
        shutil.copytree(keys, folder / "dkim")
        return cls(folder)

    @property
    def config(self) -> str:
        return str(self.folder / "listserv.toml")

    def run(self, *args: str, stdin: str | bytes | None = None) -> Result:
        """Never a traceback: whatever is not an exit is raised here."""
        return CliRunner(env=self.environment).invoke(
            main, ["--config", self.config, *args], input=stdin, catch_exceptions=False
        )

    def ok(self, *args: str, stdin: str | bytes | None = None) -> str:
        """What it printed; it ended with 0."""
        result = self.run(*args, stdin=stdin)
        assert result.exit_code == 0, result.output
        return result.stdout

    def fails(self, *args: str, stdin: str | bytes | None = None) -> list[str]:
        """The lines on standard error; it ended with 1."""
        result = self.run(*args, stdin=stdin)
        assert result.exit_code == 1, result.output
        assert "Traceback" not in result.stderr
        return result.stderr.splitlines()

    def json(self, *args: str) -> Any:
        return json.loads(self.ok(*args, "--json"))

    def node(self) -> Node:
        return Node.open(Settings.load(Path(self.config), {}))

    def log(self, action: str) -> list[dict[str, Any]]:
        """Lines of the access log with this action."""
        with Place(Path(self.config)).node() as node:
            return [dict(line) for line in node.journal.search() if line["action"] == action]

    def file(self, name: str, content: bytes | str) -> str:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)
