"""Add an index of the groups that exist, so that lists do not read past the deleted ones."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

INDEX = "gpo_groups_that_exist"


def upgrade() -> None:
    """To this revision."""
    exists = sa.text("context IS NOT NULL")
    columns = ["tenant", "group_id"]
    op.create_index(INDEX, "gpo_groups", columns, sqlite_where=exists, postgresql_where=exists)


def downgrade() -> None:
    """Back to the revision before."""
    op.drop_index(INDEX, "gpo_groups")
