"""How fast one author posts to one group, and about what, is found by an index.

It takes the place of the one by group alone, which the numbers' has made idle.

Frozen: what changes later comes in a migration of its own.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("posts", sa.Column("subject_key", sa.LargeBinary(8), nullable=True))
    believed = sa.text("subject_key IS NOT NULL")
    columns = ["group_id", "author", "received_at"]
    op.create_index("ix_posts_pace", "posts", columns, sqlite_where=believed, postgresql_where=believed)
    op.drop_index("ix_posts_group_id", "posts")
