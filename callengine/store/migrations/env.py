"""What Alembic runs: on the connection it is handed, inside the transaction that is open on it."""

from __future__ import annotations

from alembic import context

from callengine.store.models import metadata
from callengine.store.schema import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
context.run_migrations()
