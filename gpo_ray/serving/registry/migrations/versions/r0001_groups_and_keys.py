"""Make the tables of groups and keys."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Upgrade an empty database to this revision."""
    name = sa.String(200).with_variant(sa.String(200, collation="C"), "postgresql")
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "gpo_groups",
        sa.Column("tenant", name, primary_key=True),
        sa.Column("group_id", name, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("etag", sa.String(40), nullable=False),
        sa.Column("answers", sa.Integer, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("updated_at", moment, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("context", sa.Text),
    )
    op.create_table(
        "gpo_keys",
        sa.Column("key_id", sa.String(16), primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("tenant", name, nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("revoked_at", moment),
    )


def downgrade() -> None:
    """Downgrade to an empty database."""
    op.drop_table("gpo_keys")
    op.drop_table("gpo_groups")
