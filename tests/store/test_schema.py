"""The tables as the migrations make them, and as the models say."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.migration import MigrationContext
from alembic.operations import Operations

import callengine.store
from callengine.errors import SettingsError, StoreUnavailable
from callengine.store import Store, current, downgrade, head, metadata, missing, upgrade

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alembic.autogenerate.api import AutogenContext


@pytest.fixture
def engine(empty_url: str) -> Iterator[sa.Engine]:
    store = Store.from_url(empty_url)
    yield store.engine
    store.close()


def tables(engine: sa.Engine) -> set[str]:
    return set(sa.inspect(engine).get_table_names())


def differences(engine: sa.Engine, target: sa.MetaData) -> list[Any]:
    options = {
        "compare_server_default": True,
        "include_name": lambda name, kind, _: kind != "table" or not name.endswith("_version"),
    }
    with engine.connect() as connection:
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), target))


def test_the_migrations_make_what_the_models_say(engine: sa.Engine) -> None:
    upgrade(engine)
    assert differences(engine, metadata) == []


def test_a_difference_would_be_seen(engine: sa.Engine) -> None:
    upgrade(engine)
    other = sa.MetaData(naming_convention=metadata.naming_convention)
    for table in metadata.sorted_tables:
        table.to_metadata(other)
    other.tables["callengine_calls"].append_column(sa.Column("mood", sa.String(20)))
    (difference,) = differences(engine, other)
    assert difference[0] == "add_column"


def test_foreign_keys_cascade_as_the_models_say(engine: sa.Engine) -> None:
    """Alembic does not compare this on SQLite."""
    upgrade(engine)
    for name, table in metadata.tables.items():
        told = {key.parent.name: key.ondelete for key in table.foreign_keys}
        made = {
            key["constrained_columns"][0]: key["options"].get("ondelete")
            for key in sa.inspect(engine).get_foreign_keys(name)
        }
        assert made == told


def test_down_takes_everything_away_and_up_brings_it_back(engine: sa.Engine) -> None:
    assert current(engine) is None
    upgrade(engine)
    assert current(engine) == head()
    downgrade(engine, "base")
    assert tables(engine) == {"callengine_alembic_version"}
    assert current(engine) is None
    upgrade(engine)
    assert tables(engine) == {*metadata.tables, "callengine_alembic_version"}


def test_an_upgrade_of_what_is_up_to_date_changes_nothing(engine: sa.Engine) -> None:
    upgrade(engine)
    with engine.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO callengine_erased_calls VALUES (:id, '2026-01-01')"),
            {"id": "0" * 32},
        )
    upgrade(engine)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM callengine_erased_calls")) == 1


def test_a_host_with_migrations_of_its_own_keeps_them(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        connection.execute(sa.text("INSERT INTO alembic_version VALUES ('host')"))
    upgrade(engine)
    downgrade(engine, "base")
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT version_num FROM alembic_version")) == "host"


def test_a_migration_that_fails_leaves_nothing_behind(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE callengine_usage (mine INTEGER)"))
    with pytest.raises(StoreUnavailable, match="callengine_usage"):
        upgrade(engine)
    assert tables(engine) == {"callengine_usage"}


def test_processes_that_upgrade_together_wait_for_each_other(empty_url: str) -> None:
    failures: list[BaseException] = []
    start = threading.Barrier(3)

    def run() -> None:
        store = Store.from_url(empty_url)
        start.wait()
        try:
            upgrade(store.engine)
        except BaseException as error:  # noqa: BLE001 - told to the test
            failures.append(error)
        finally:
            store.close()

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_revision_nobody_knows(engine: sa.Engine) -> None:
    upgrade(engine)
    with pytest.raises(SettingsError, match="revision 9999"):
        downgrade(engine, "9999")


def test_what_is_missing_is_named(engine: sa.Engine) -> None:
    assert missing(engine) == sorted(metadata.tables)
    metadata.create_all(engine)
    assert missing(engine) == []
    assert Store(engine).migrated()
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE callengine_turns DROP COLUMN heard_ms"))
    assert missing(engine) == ["callengine_turns.heard_ms"]
    assert not Store(engine).migrated()


def test_without_alembic_the_error_names_the_extra(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "alembic.config", None)
    for ask in (lambda: upgrade(engine), lambda: downgrade(engine, "base"), head):
        with pytest.raises(SettingsError, match=r"pip install 'callengine\[db\]'"):
            ask()
    assert current(engine) is None
    assert not Store(engine).migrated()


def test_a_host_can_generate_its_own_migration(engine: sa.Engine) -> None:
    """As docs/store.md tells it: `render_item` brings the import that the script needs."""

    def render_item(kind: str, value: object, autogen_context: AutogenContext) -> bool:
        if kind == "type" and type(value).__module__.startswith("callengine."):
            autogen_context.imports.add("import callengine.store.types")
        return False

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"render_item": render_item})
        script = produce_migrations(context, metadata)
    assert script.upgrade_ops is not None
    code = render_python_code(script.upgrade_ops, render_item=render_item)
    code = code.replace("\n    ", "\n")
    with engine.begin() as connection:
        op = Operations(MigrationContext.configure(connection))
        exec(code, {"op": op, "sa": sa, "callengine": callengine})
    assert differences(engine, metadata) == []


def test_a_folder_with_a_percent_sign_is_no_riddle(monkeypatch: pytest.MonkeyPatch) -> None:
    from callengine.store import schema

    monkeypatch.setattr(schema, "__file__", "/srv/100%/schema.py")
    assert schema._config().get_main_option("script_location") == "/srv/100%/migrations"
