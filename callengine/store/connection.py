"""Reaching the database: an engine with sane deadlines, and its errors in our words.

Error texts carry no value of a row: the driver's first line names tables and settings, the lines
below it may quote what was said.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Engine, create_engine, event, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
    StatementError,
)
from sqlalchemy.exc import (
    TimeoutError as PoolTimeout,
)

from callengine.errors import SettingsError, StoreRefused, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL, Connection

CONNECT_TIMEOUT_S: Final = 2
STATEMENT_TIMEOUT_MS: Final = 5000
"""A statement that takes longer, waiting for locks included, is given up (PostgreSQL)."""
BUSY_TIMEOUT_S: Final = 2
"""How long SQLite waits for another writer."""
POOL_TIMEOUT_S: Final = 5
"""How long a thread waits for a connection of the pool."""
MAX_DETAIL_CHARACTERS: Final = 200

DIALECTS: Final = ("sqlite", "postgresql")

# A network that swallows packets: notice within ten seconds, not within the kernel's hours.
_KEEPALIVE: Final = {
    "keepalives_idle": 4,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


def make_engine(url: str) -> Engine:
    """An engine for `sqlite:///calls.db` or `postgresql://user:password@host/name`.

    Opens no connection. Raises SettingsError for a URL that cannot be used; the text does not
    repeat it, because it may hold a password.
    """
    try:
        address = make_url(url)
    except (ArgumentError, ValueError):
        raise SettingsError(
            "database_url cannot be read; it must look like sqlite:///calls.db or"
            " postgresql://user:password@host/name"
        ) from None
    if address.drivername in {"postgres", "postgresql"}:
        address = address.set(drivername="postgresql+psycopg")
    if address.get_backend_name() not in DIALECTS:
        raise SettingsError(
            f"database_url begins with {address.drivername}; use sqlite or postgresql"
        )
    try:
        return _sqlite(address) if address.get_backend_name() == "sqlite" else _postgresql(address)
    except (ModuleNotFoundError, NoSuchModuleError):
        raise SettingsError(
            f"no driver for {address.drivername}: pip install 'callengine[postgres]' brings"
            " postgresql+psycopg"
        ) from None


def check_engine(engine: Engine) -> None:
    """Raise SettingsError for an engine of a host that the store cannot work on."""
    if not isinstance(engine, Engine):
        raise SettingsError(
            f"the store needs a sqlalchemy.Engine, not {type(engine).__name__}: beside an"
            " AsyncEngine give it one of its own with Store.from_url(...)"
        )
    if engine.dialect.name not in DIALECTS:
        raise SettingsError(
            f"the store knows sqlite and postgresql, not {engine.dialect.name}: give it a"
            " database of its own with Store.from_url(...)"
        )


@contextlib.contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """One transaction on a connection of the pool, with deadlines on whosever engine it is.

    Raises StoreUnavailable or StoreRefused for what the database says.
    """
    with translated(), engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            # For this transaction only: the connection may be the host's, or a proxy's. Waiting
            # for a lock counts too.
            limit = str(STATEMENT_TIMEOUT_MS)
            connection.execute(select(func.set_config("statement_timeout", limit, True)))
        yield connection


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """The database's errors in our words. Causes are cut off: they quote statements and rows."""
    try:
        yield
    except (IntegrityError, DataError) as error:
        raise StoreRefused(f"the database refused it: {type(error.orig).__name__}") from None
    except (OverflowError, UnicodeError) as error:
        raise StoreRefused(f"the database cannot hold it: {type(error).__name__}") from None
    except PoolTimeout:
        raise StoreUnavailable("all connections to the database are taken") from None
    except DBAPIError as error:
        raise StoreUnavailable(f"the database did not do it: {_detail(error)}") from None
    except StatementError as error:  # a value that is none: it did not get as far as the driver
        raise StoreRefused(f"the store cannot write it: {type(error.orig).__name__}") from None


def _detail(error: DBAPIError) -> str:
    lines = str(error.orig).splitlines() or [""]
    return f"{type(error.orig).__name__}: {lines[0][:MAX_DETAIL_CHARACTERS]}"


def _postgresql(address: URL) -> Engine:
    arguments: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT_S, **_KEEPALIVE}
    return create_engine(
        address,
        connect_args={name: arguments[name] for name in arguments.keys() - address.query.keys()},
        pool_pre_ping=True,
        pool_timeout=POOL_TIMEOUT_S,
        hide_parameters=True,
    )


def _sqlite(address: URL) -> Engine:
    if address.database in {None, "", ":memory:"} or "memory" in str(address.query.get("mode")):
        raise SettingsError(
            "database_url names no file: each thread would have a database of its own in memory;"
            " use sqlite:///calls.db"
        )
    engine = create_engine(address, connect_args={"timeout": BUSY_TIMEOUT_S}, hide_parameters=True)
    event.listen(engine, "connect", _set_up_sqlite)
    return engine


def _set_up_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 - any driver's
    for pragma in ("foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}").close()
    # The mode stays with the file. SQLite does not wait for a lock to change it: whoever has the
    # file open now changes it too, or the next connection will.
    with contextlib.suppress(connection.OperationalError):
        connection.execute("PRAGMA journal_mode=WAL").close()
