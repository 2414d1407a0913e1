"""What our own code fails on can be set aside with the reason why; and the accounts of posts and copies are opened.

Frozen: what changes later comes in a migration of its own.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

OPENING = {  # what there is already, so that both sides are equal from here on
    "posts.opening": "SELECT count(*) FROM posts",
    "copies.opening": "SELECT count(*) FROM deliveries",
}


def upgrade() -> None:
    for table in ("posts", "editions"):
        faults: sa.Column[int] = sa.Column("faults", sa.Integer(), server_default=sa.text("0"), nullable=False)
        op.add_column(table, faults)
        op.add_column(table, sa.Column("fault", sa.String(), server_default="", nullable=False))
    aside = sa.text("state = 'aside'")
    for table in ("posts", "deliveries", "jobs"):
        op.create_index(f"ix_{table}_aside", table, ["id"], sqlite_where=aside, postgresql_where=aside)
    connection = op.get_bind()
    for what, expression in OPENING.items():
        number = int(connection.execute(sa.text(expression)).scalar_one())
        if number:
            opened = sa.text(
                "INSERT INTO counts (day, group_id, what, number) VALUES (CURRENT_DATE, 0, :what, :number)"
            )
            connection.execute(opened, {"what": what, "number": number})
