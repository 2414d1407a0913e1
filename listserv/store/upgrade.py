"""The database at the schema of this program: made, migrated, or refused when it belongs to a newer one."""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

from listserv.store.db import Database, Tx
from listserv.store.schema import VERSION

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).parent / "migrations"


class NewerDatabase(Exception):
    """Running on would break what a newer program wrote."""


def version(tx: Tx) -> str | None:
    """The migration the database is at; None when it is empty."""
    if not inspect(tx).has_table("alembic_version"):
        return None
    return tx.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def upgrade(database: Database) -> str | None:
    """The version that was there before, None for a new database; afterwards it is at VERSION.

    Raises NewerDatabase when the database is beyond what this program knows.  Several processes may
    call this at once: the first one migrates, the others find it done.
    """
    before = database.read_now(version)
    if before != VERSION:
        if before is not None and before not in _known():
            raise NewerDatabase(
                f"the database is at version {before}, this program knows up to {VERSION}: run the newer listserv"
            )
        try:
            database.write_now(_migrate)
        except DBAPIError:
            if database.read_now(version) != VERSION:  # else another process was faster
                raise
    return before


def _migrate(tx: Tx) -> None:
    from alembic import command  # 0.4 s, needed once

    if version(tx) == VERSION:
        return
    config = _config()
    config.attributes["connection"] = tx
    command.upgrade(config, "head")


def _known() -> set[str]:
    from alembic.script import ScriptDirectory

    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def _config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config
