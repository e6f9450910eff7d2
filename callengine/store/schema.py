"""Bringing the tables to where this version of callengine wants them, with Alembic.

The scripts ship in the package and keep their own version table, beside that of a host.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import inspect, text

from callengine.errors import SettingsError
from callengine.store.connection import translated
from callengine.store.models import PREFIX, metadata

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection, Engine

VERSION_TABLE: Final = f"{PREFIX}alembic_version"

_LOCK: Final = 0x63616C6C
"""The advisory lock of migrations: processes that start together migrate one after another."""


def upgrade(engine: Engine) -> None:
    """Bring the tables up to date: all or nothing, and nothing if they are.

    Raises SettingsError without Alembic, StoreUnavailable for what the database says.
    """
    _migrate(engine, "upgrade", "head")


def downgrade(engine: Engine, revision: str) -> None:
    """Take the tables back to a revision; `base` removes them with all that is in them."""
    _migrate(engine, "downgrade", revision)


def current(engine: Engine) -> str | None:
    """The revision of the tables; None if no migration of ours made them. Needs no Alembic."""
    with translated(), engine.connect() as connection:
        if not inspect(connection).has_table(VERSION_TABLE):
            return None
        revision: str | None = connection.scalar(
            text(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608 - a constant
        )
        return revision


def head() -> str:
    """The revision this version of callengine wants. Raises SettingsError without Alembic."""
    config = _config()
    from alembic.script import ScriptDirectory

    revision = ScriptDirectory.from_config(config).get_current_head()
    assert revision is not None, "the package has migrations"
    return revision


def missing(engine: Engine) -> list[str]:
    """What is not there, whoever was to make it: `table` or `table.column`."""
    with translated(), engine.connect() as connection:
        return sorted(_missing(connection))


def _missing(connection: Connection) -> set[str]:
    inspector = inspect(connection)
    there = set(inspector.get_table_names())
    absent = {name for name in metadata.tables if name not in there}
    for name in metadata.tables.keys() - absent:
        columns = {column["name"] for column in inspector.get_columns(name)}
        wanted = metadata.tables[name].columns.keys()
        absent |= {f"{name}.{column}" for column in wanted if column not in columns}
    return absent


def _migrate(engine: Engine, direction: str, revision: str) -> None:
    config = _config()
    from alembic import command
    from alembic.util import CommandError

    with translated(), engine.begin() as connection:
        _lock(connection)
        config.attributes["connection"] = connection
        try:
            getattr(command, direction)(config, revision)
        except CommandError as error:
            raise SettingsError(f"the tables cannot go to revision {revision}: {error}") from None


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    elif not connection.connection.dbapi_connection.in_transaction:  # type: ignore[union-attr]
        # The driver begins a transaction before an INSERT, but not before a CREATE TABLE.
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _config() -> Config:
    try:
        from alembic.config import Config
    except ModuleNotFoundError:
        raise SettingsError("migrations need Alembic: pip install 'callengine[db]'") from None
    config = Config()
    folder = Path(__file__).with_name("migrations")
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    return config
