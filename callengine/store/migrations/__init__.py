"""Alembic's environment and scripts; `callengine.store.schema` runs them."""
