"""A PostgreSQL of their own for tests that kill it."""

from __future__ import annotations

from tests.postgres import postgres_server

__all__ = ["postgres_server"]
