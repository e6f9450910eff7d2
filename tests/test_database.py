"""`python -m callengine db`."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from callengine.database import add_parser, run_db
from callengine.errors import SettingsError, StoreUnavailable
from callengine.store import Store, head, metadata
from tests.store.made import CALLER, whole_call

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'calls.db'}"


def db(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers(required=True))
    parsed = parser.parse_args(["db", *arguments])
    assert parsed.run is run_db
    return run_db(parsed)


def test_up_and_where_it_is(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert db("current", "--database-url", url) == 1
    assert db("upgrade", "--database-url", url) == 0
    assert db("upgrade", "--database-url", url) == 0
    assert db("current", "--database-url", url) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"nothing, should be {head()}: python -m callengine db upgrade",
        f"from nothing to {head()}",
        f"at {head()}",
        f"{head()}, up to date",
    ]


def test_the_url_may_be_in_the_environment(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CALLENGINE_DATABASE_URL", raising=False)
    with pytest.raises(SettingsError, match="CALLENGINE_DATABASE_URL"):
        db("current")
    monkeypatch.setenv("CALLENGINE_DATABASE_URL", url)
    assert db("upgrade") == 0


def test_purge_and_erase(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store.from_url(url)
    metadata.create_all(store.engine)
    now = datetime.now(UTC)
    store.write([*whole_call(at=now - timedelta(days=40)), *whole_call(at=now)])
    store.write(whole_call(at=now - timedelta(days=9), caller="+15550102"))
    purge = ("purge", "--database-url", url)
    with pytest.raises(SettingsError, match="how old"):
        db(*purge)
    assert db(*purge, "--calls-after-days", "30", "--transcripts-after-days", "7") == 0
    assert db("erase", "--database-url", url, "--caller", CALLER) == 0
    assert capsys.readouterr().out.splitlines() == [
        "deleted 1 calls, 4 turns",
        "deleted 1 calls, 2 turns",
    ]
    assert [call.caller for call in store.calls()] == ["+15550102"]
    store.close()


def test_a_database_that_is_away(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        db("upgrade", "--database-url", f"sqlite:///{tmp_path / 'nowhere' / 'calls.db'}")
