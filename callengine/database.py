"""`python -m callengine db`: the tables, what is kept in them, and for how long.

The other commands need no database, and need not load one.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from callengine.errors import SettingsError
from callengine.settings import Settings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from callengine.store import Removed, Store


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add `db` to the commands; what is parsed is for `run_db`."""
    db = commands.add_parser("db", help="look after the database")
    db.set_defaults(run=run_db)
    actions = db.add_subparsers(required=True, metavar="ACTION")

    def add(name: str, action: Callable[..., int], text: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = actions.add_parser(name, help=text)
        parser.add_argument("--database-url", metavar="URL", help="(CALLENGINE_DATABASE_URL)")
        parser.set_defaults(action=action)
        return parser

    add("upgrade", _upgrade, "bring the tables up to date")
    add("current", _current, "show whether they are; status 1 if not")
    purge = add("purge", _purge, "delete what is old")
    purge.add_argument("--calls-after-days", type=float, metavar="N", help="calls, with all")
    purge.add_argument("--transcripts-after-days", type=float, metavar="N", help="what was said")
    erase = add("erase", _erase, "delete all calls of one caller")
    erase.add_argument("--caller", required=True, metavar="NUMBER", help="such as +15550100")


def run_db(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit status.

    Raises SettingsError for what is missing, StoreUnavailable if the database does not answer.
    """
    from callengine.store import Store

    url = arguments.database_url or Settings.from_env().database_url
    if not url:
        raise SettingsError("no database: give --database-url or set CALLENGINE_DATABASE_URL")
    with closing(Store.from_url(url)) as store:
        return int(arguments.action(store, arguments))


def _upgrade(store: Store, _arguments: argparse.Namespace) -> int:
    from callengine.store import current, upgrade

    before = current(store.engine)
    upgrade(store.engine)
    after = current(store.engine)
    print(f"at {after}" if before == after else f"from {before or 'nothing'} to {after}")
    return 0


def _current(store: Store, _arguments: argparse.Namespace) -> int:
    from callengine.store import current, head

    revision, wanted = current(store.engine), head()
    if revision == wanted:
        print(f"{revision}, up to date")
        return 0
    print(f"{revision or 'nothing'}, should be {wanted}: python -m callengine db upgrade")
    return 1


def _purge(store: Store, arguments: argparse.Namespace) -> int:
    calls, transcripts = arguments.calls_after_days, arguments.transcripts_after_days
    if calls is None and transcripts is None:
        raise SettingsError("how old? give --calls-after-days, --transcripts-after-days or both")
    _print(store.purge(calls_after_days=calls, transcripts_after_days=transcripts))
    return 0


def _erase(store: Store, arguments: argparse.Namespace) -> int:
    _print(store.erase_caller(arguments.caller))
    return 0


def _print(removed: Removed) -> None:
    print(f"deleted {removed.calls} calls, {removed.turns} turns")
