"""Deliveries are claimed edition by edition, and those that were tried before apart from those that were not.

Frozen: what changes later comes in a migration of its own.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    for name, columns, tries in (
        ("ix_deliveries_fresh", ["edition_id", "id"], "tries = 0"),
        ("ix_deliveries_again", ["due", "id"], "tries > 0"),
    ):
        where = sa.text(f"state = 'due' AND {tries}")
        op.create_index(name, "deliveries", columns, unique=False, sqlite_where=where, postgresql_where=where)
