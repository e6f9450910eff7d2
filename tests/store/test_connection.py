"""Reaching the database, or not: URLs, a host's engine, a server that is away, locked or slow."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine, event, select, text
from sqlalchemy.pool import QueuePool

from callengine.errors import SettingsError, StoreUnavailable
from callengine.store import Business, Store, metadata, upgrade
from callengine.store import connection as store_connection
from tests.store.made import CALLED, CALLER, whole_call

if TYPE_CHECKING:
    from pathlib import Path

    from tests.postgres import PostgresServer

# ---- URLs


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "cannot be read"),
        ("calls.db", "cannot be read"),
        ("postgresql://me:hunter2@host:port/name", "cannot be read"),
        ("mysql://me:hunter2@host/name", "mysql"),
        ("postgresql+nodriver://me:hunter2@host/name", "postgresql.nodriver"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///file:calls?mode=memory&uri=true", "names no file"),
    ],
)
def test_a_url_that_cannot_be_used(url: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says) as refused:
        Store.from_url(url)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_however_postgresql_is_spelled_the_driver_is_psycopg(scheme: str) -> None:
    store = Store.from_url(f"{scheme}://me:hunter2@host/name")
    assert store.engine.url.drivername == "postgresql+psycopg"
    assert "hunter2" not in repr(store.engine)
    store.close()


def test_without_the_driver_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(SettingsError, match=r"pip install 'callengine\[postgres\]'"):
        Store.from_url("postgresql://me@host/name")


def test_what_the_url_says_of_timeouts_goes_before_ours() -> None:
    told: dict[str, Any] = {}
    store = Store.from_url("postgresql://me@127.0.0.1:1/name?connect_timeout=7")

    @event.listens_for(store.engine, "do_connect")
    def note(_dialect: object, _record: object, _args: object, arguments: dict[str, Any]) -> None:
        told.update(arguments)

    with pytest.raises(StoreUnavailable):
        store.ping()
    assert (told["connect_timeout"], told["tcp_user_timeout"]) == ("7", 10_000)
    store.close()


# ---- a host's engine


def test_an_engine_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match="not AsyncEngine"):
        Store(type("AsyncEngine", (), {})())


def test_an_engine_of_another_database_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = create_engine("sqlite://")
    monkeypatch.setattr(engine.dialect, "name", "oracle")
    with pytest.raises(SettingsError, match="oracle"):
        Store(engine)
    engine.dispose()


def test_a_host_engine_is_left_as_it_was(url: str) -> None:
    host = Store.from_url(url).engine
    store = Store(host)
    store.write(whole_call())
    store.close()
    assert isinstance(host.pool, QueuePool)
    assert (host.pool.checkedout(), host.pool.checkedin()) == (0, 1), "it was not disposed of"
    if host.dialect.name == "postgresql":
        with host.connect() as connection:
            assert connection.scalar(text("SHOW statement_timeout")) == "0"
    host.dispose()


def test_a_transaction_of_the_host_sees_nothing_of_it(store: Store) -> None:
    """The host's connection rolls back; what the store wrote meanwhile stays."""
    with store.engine.connect() as connection:
        connection.execute(select(1))
        store.write(whole_call())
        connection.rollback()
    assert len(store.calls()) == 1


# ---- away, locked, slow


def asked(store: Store) -> list[Any]:
    """Everything that may be asked of a store."""
    return [
        lambda: store.write(whole_call()),
        lambda: store.business(CALLED),
        lambda: store.save_business(Business(called=CALLED)),
        store.calls,
        lambda: store.purge(calls_after_days=1),
        lambda: store.erase_caller(CALLER),
        store.ping,
        store.migrated,
        lambda: upgrade(store.engine),
    ]


def assert_unavailable(store: Store) -> None:
    for ask in asked(store):
        with pytest.raises(StoreUnavailable) as refused:
            ask()
        assert "+1555" not in str(refused.value)
        assert refused.value.__suppress_context__, "a trace would show the statement"


def test_nobody_listens() -> None:
    store = Store.from_url("postgresql://me:hunter2@127.0.0.1:1/name")
    assert_unavailable(store)
    with pytest.raises(StoreUnavailable) as refused:
        store.ping()
    assert "hunter2" not in str(refused.value)
    store.close()


def test_an_error_quotes_no_statement_and_no_row(empty_url: str) -> None:
    ours = Store.from_url(empty_url)
    assert ours.engine.hide_parameters
    host = create_engine(ours.engine.url)
    with pytest.raises(StoreUnavailable, match="callengine_calls") as refused:
        Store(host).write(whole_call())
    assert "INSERT" not in str(refused.value)
    assert CALLER not in str(refused.value)
    host.dispose()


def test_a_file_that_cannot_be_made(tmp_path: Path) -> None:
    store = Store.from_url(f"sqlite:///{tmp_path / 'no' / 'such' / 'folder' / 'calls.db'}")
    assert_unavailable(store)
    store.close()


@pytest.mark.postgres
def test_a_server_that_dies_and_comes_back(postgres_server: PostgresServer) -> None:
    postgres_server.execute("CREATE DATABASE mortal")
    store = Store.from_url(postgres_server.url_of("mortal"))
    upgrade(store.engine)
    first, second = whole_call(), whole_call(call_sid="CA2")
    store.write(first)
    postgres_server.stop(immediate=True)
    try:
        assert_unavailable(store)
        with pytest.raises(StoreUnavailable):
            store.write(second)
    finally:
        postgres_server.start()
    store.write([*first, *second])
    assert sorted(call.call_sid for call in store.calls()) == ["CA1", "CA2"]
    assert len(store.turns(first[0].call_id)) == 2
    postgres_server.stop()
    postgres_server.start()
    store.ping()  # nobody notices a restart that nobody asked in the middle of
    store.close()


def test_a_table_that_is_locked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_connection, "STATEMENT_TIMEOUT_MS", 100)
    monkeypatch.setattr(store_connection, "BUSY_TIMEOUT_S", 0.1)
    store, other = Store.from_url(url), Store.from_url(url)
    with other.engine.connect() as holder:
        if holder.dialect.name == "postgresql":
            holder.execute(text("LOCK TABLE callengine_calls IN ACCESS EXCLUSIVE MODE"))
        else:
            holder.exec_driver_sql("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match=r"timeout|locked"):
            store.write(whole_call())
        holder.rollback()
    store.write(whole_call())
    assert len(store.calls()) == 1
    store.close()
    other.close()


def test_a_new_file_that_somebody_writes_is_opened_all_the_same(tmp_path: Path) -> None:
    file = tmp_path / "calls.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.execute("CREATE TABLE host (id INTEGER)")
        writer.execute("BEGIN IMMEDIATE")
        store = Store.from_url(f"sqlite:///{file}")
        store.ping()
        store.close()
        writer.rollback()
    store.ping()
    with store.engine.connect() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
    store.close()


def test_readers_do_not_wait_for_a_writer(url: str) -> None:
    store, other = Store.from_url(url), Store.from_url(url)
    store.save_business(Business(called=CALLED, name="Baker"))
    with other.engine.connect() as writer:
        if writer.dialect.name == "sqlite":
            writer.exec_driver_sql("BEGIN IMMEDIATE")
        writer.execute(text("DELETE FROM callengine_businesses"))
        found = store.business(CALLED)
        assert found is not None
        assert found.name == "Baker"
        writer.rollback()
    store.close()
    other.close()


def test_all_connections_are_taken(url: str) -> None:
    engine = create_engine(
        Store.from_url(url).engine.url, pool_size=1, max_overflow=0, pool_timeout=0.05
    )
    store = Store(engine)
    with engine.connect(), pytest.raises(StoreUnavailable, match="taken"):
        store.ping()
    store.ping()
    engine.dispose()


def test_what_a_file_of_ours_is_like(tmp_path: Path) -> None:
    """Written ahead, so that readers go on; children go with their parents."""
    store = Store.from_url(f"sqlite:///{tmp_path / 'calls.db'}")
    metadata.create_all(store.engine)
    with store.engine.connect() as connection:
        told = {
            name: connection.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "foreign_keys", "secure_delete", "busy_timeout")
        }
    assert told == {
        "journal_mode": "wal",
        "foreign_keys": 1,
        "secure_delete": 1,
        "busy_timeout": 2000,
    }
    store.close()
    with closing(sqlite3.connect(tmp_path / "calls.db")) as again:
        assert again.execute("PRAGMA journal_mode").fetchone() == ("wal",)
