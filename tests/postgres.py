"""A PostgreSQL server for tests: started by them, stopped by them, gone with them."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

START_S = 15

# Fast, and safe against the death of the server, though not of the machine. Commits stay
# synchronous: otherwise an immediate stop would lose what was acknowledged.
OPTIONS = "-c fsync=off -c full_page_writes=off -c max_connections=50"


def find_binaries() -> Path | None:
    """The folder of `initdb` and `pg_ctl`: that on the PATH, else the newest installed."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    if shutil.which("pg_config"):
        told = subprocess.run(
            ["pg_config", "--bindir"], capture_output=True, text=True, check=True
        ).stdout.strip()
        if (Path(told) / "initdb").exists():
            return Path(told)
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest_last = sorted(found, key=lambda path: float(path.parent.parent.name))
    return newest_last[-1].parent if newest_last else None


class PostgresServer:
    """One server on a port of 127.0.0.1, which it keeps when it is started again."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        # PostgreSQL refuses to run as root, and then cannot see into folders of root either.
        self._user = _ordinary_user() if os.geteuid() == 0 else None
        self._folder = Path(tempfile.mkdtemp(prefix="callengine-postgres-"))
        if self._user:
            os.chown(self._folder, self._user.pw_uid, self._user.pw_gid)
        self._data = self._folder / "data"
        self.port = _free_port()

    @property
    def url(self) -> str:
        """Of the database that a server always has, as people spell it."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """Of a database."""
        return f"postgresql://tester@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it; returns when it takes connections."""
        if not self._data.exists():
            self._run("initdb", "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync")
        where = f"-c listen_addresses=127.0.0.1 -c unix_socket_directories='' -p {self.port}"
        log = str(self._folder / "log")
        options = f"{where} {OPTIONS}"
        self._run("pg_ctl", "start", "-w", "-t", str(START_S), "-l", log, "-o", options)

    def stop(self, *, immediate: bool = False) -> None:
        """Stop it: at once, as if it had crashed, or when it has put its house in order."""
        self._run("pg_ctl", "stop", "-w", "-m", "immediate" if immediate else "fast")

    def remove(self) -> None:
        """Stop it, and delete all it had."""
        try:
            if (self._data / "postmaster.pid").exists():
                self.stop(immediate=True)
        finally:
            shutil.rmtree(self._folder)

    def execute(self, statement: str) -> None:
        """Run one statement, outside of a transaction."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement.encode())

    def _run(self, program: str, *arguments: str) -> None:
        as_user: dict[str, Any] = {}
        if self._user:
            as_user = {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        # The server inherits these files, so that nothing may wait for their end.
        with (self._folder / f"{program}.out").open("w+") as output:
            done = subprocess.run(
                [self._binaries / program, "-D", self._data, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                timeout=START_S + 5,
                check=False,
                **as_user,
            )
            output.seek(0)
            assert done.returncode == 0, f"{program}: {output.read()}"


def _ordinary_user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for all tests. A test that stops it starts it again."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL here: neither initdb on the PATH nor /usr/lib/postgresql")
    server = PostgresServer(binaries)
    try:
        server.start()
        yield server
    finally:
        server.remove()
