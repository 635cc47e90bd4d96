"""Script that Alembic runs; :func:`gpo_ray.serving.registry.database.open_database` gives the connection."""

from alembic import context

from gpo_ray.serving.registry.tables import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
