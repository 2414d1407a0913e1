"""People ask and are asked: consent on record, questions with a budget, objections, and how members want their posts.

Frozen: what changes later comes in a migration of its own.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    for name, default in (("own_posts", "true"), ("copies", "true"), ("visible", "false")):
        flag: sa.Column[bool] = sa.Column(name, sa.Boolean(), server_default=sa.text(default), nullable=False)
        op.add_column("subscriptions", flag)
    op.add_column("holds", sa.Column("waits_for", sa.String(length=12), server_default="admins", nullable=False))
    op.create_table(
        "requests",
        sa.Column("id", _ID, nullable=False),
        sa.Column("key", sa.String(length=320), nullable=False),
        sa.Column("action", sa.String(length=24), nullable=False),
        sa.Column("group_id", _ID, nullable=True),
        sa.Column("doc", sa.JSON(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("token", sa.LargeBinary(length=32), nullable=True),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name="fk_requests_group_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_requests"),
        sqlite_autoincrement=True,
    )
    for column in ("key", "group_id", "token"):
        op.create_index(f"ix_requests_{column}", "requests", [column], unique=False)
    op.create_table(
        "objections",
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_objections"),
    )
    op.create_table(
        "buckets",
        sa.Column("name", sa.LargeBinary(length=32), nullable=False),
        sa.Column("level", sa.Float(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_buckets"),
    )
    op.create_index("ix_buckets_at", "buckets", ["at"], unique=False)
    op.create_table(
        "consents",
        sa.Column("id", _ID, nullable=False),
        sa.Column("act", sa.String(length=24), nullable=False),
        sa.Column("group", sa.String(length=320), nullable=False),
        sa.Column("way", sa.String(length=12), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("personal", sa.LargeBinary(length=32), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_consents"),
        sa.UniqueConstraint("digest", name="uq_consents_digest"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "consent_details",
        sa.Column("consent_id", _ID, nullable=False),
        sa.Column("key", sa.String(length=320), nullable=False),
        sa.Column("salt", sa.LargeBinary(length=16), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["consent_id"], ["consents.id"], name="fk_consent_details_consent_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("consent_id", name="pk_consent_details"),
    )
    op.create_index("ix_consent_details_key", "consent_details", ["key"], unique=False)
