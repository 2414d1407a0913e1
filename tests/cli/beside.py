"""A daemon that runs on the database and the folder of a shell."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from listserv.settings import Settings
from tests.cli.shell import Shell
from tests.kit.house import House, house


def daemon(shell: Shell) -> AbstractAsyncContextManager[House]:
    return house(Settings.load(Path(shell.config), {}).database.url, shell.folder)
