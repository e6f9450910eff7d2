"""Keys, addresses and the database: is there what the settings name, and is it what it should be.

Nothing that is found says what a secret is.
"""

from __future__ import annotations

import queue
import re
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from loguru import logger

from callengine.doctor.finding import Finding, Level
from callengine.errors import RemoteError, SettingsError
from callengine.hosts import is_loopback

if TYPE_CHECKING:
    from callengine.settings import Settings
    from callengine.store import Store

CONNECT_TIMEOUT_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 2.0


def model_key(settings: Settings) -> Finding:
    """There is a key for the model, and it looks like one."""
    host = urlsplit(settings.realtime_url).hostname
    key = settings.openai_api_key
    if key is None or not key.strip():
        if is_loopback(host):
            return Finding(Level.OK, "model key", "none, and a model on this machine needs none")
        return Finding(Level.FAIL, "model key", f"none for {host}", "set OPENAI_API_KEY")
    if not key.isascii() or not key.isprintable() or " " in key:
        told = "has spaces or characters that no key has"
        return Finding(Level.FAIL, "model key", told, "copy OPENAI_API_KEY again, without quotes")
    if host == "api.openai.com" and not key.startswith("sk-"):
        told = "does not begin with sk-, as OpenAI's keys do"
        return Finding(Level.WARN, "model key", told, "is OPENAI_API_KEY a key of OpenAI?")
    return Finding(Level.OK, "model key", "set")


def _level_of_missing(settings: Settings) -> Level:
    """What Twilio needs is not needed where nobody but this machine calls."""
    on_bench = is_loopback(urlsplit(settings.realtime_url).hostname)
    unset = settings.public_url is None and settings.twilio_auth_token is None
    return Level.WARN if on_bench and unset else Level.FAIL


def twilio_token(settings: Settings) -> Finding:
    """Signatures can be validated, and are."""
    what, token = "twilio token", settings.twilio_auth_token
    if not settings.validate_signatures:
        told = "signatures are not validated: whoever reaches this server may call at your cost"
        return Finding(Level.WARN, what, told, "unset CALLENGINE_VALIDATE_SIGNATURES")
    if not token:
        told = "none: Twilio's signatures cannot be validated, and no call is taken"
        fix = "set TWILIO_AUTH_TOKEN (console.twilio.com, Account info)"
        return Finding(_level_of_missing(settings), what, told, fix)
    if re.fullmatch("[0-9a-f]{32}", token) is None:
        told = "is not 32 hexadecimal digits, as Twilio's are"
        return Finding(Level.WARN, what, told, "is TWILIO_AUTH_TOKEN the account's auth token?")
    return Finding(Level.OK, what, "set; signatures are validated")


def public_url(settings: Settings) -> Finding:
    """Twilio can be told where the media goes."""
    url = settings.public_url
    if url is None:
        told = "none: Twilio cannot be told where the media goes"
        fix = "set CALLENGINE_PUBLIC_URL to where Twilio reaches this server, https://..."
        return Finding(_level_of_missing(settings), "public url", told, fix)
    if is_loopback(urlsplit(url).hostname):
        fix = "set CALLENGINE_PUBLIC_URL to a name that Twilio can reach"
        return Finding(Level.FAIL, "public url", f"{url} is this machine alone", fix)
    return Finding(Level.OK, "public url", url)


def model(settings: Settings) -> Finding:
    """Open a session, as a call does, and close it: costs nothing."""
    from callengine.actors.loop import Loop
    from callengine.actors.threads import Threads
    from callengine.edges.realtime import RealtimeSocket
    from callengine.messages import ModelConnected

    host = urlsplit(settings.realtime_url).hostname
    told: queue.SimpleQueue[object] = queue.SimpleQueue()
    loop, threads = Loop(), Threads("callengine-connect", 1)
    link = RealtimeSocket(loop, threads, settings.model_address(), settings.openai_api_key, logger)
    began = time.monotonic()
    link.connect(told.put)
    try:
        first = told.get(timeout=CONNECT_TIMEOUT_S)
    except queue.Empty:
        first = None
    took_ms = (time.monotonic() - began) * 1000
    link.close()
    loop.stop(CLOSE_TIMEOUT_S)
    threads.stop(0.0)
    if isinstance(first, ModelConnected):
        return Finding(Level.OK, "model", f"{host} answered in {took_ms:.0f} ms")
    detail = getattr(first, "detail", "no answer")
    fix = "check OPENAI_API_KEY, CALLENGINE_REALTIME_URL, and what a firewall or proxy lets out"
    return Finding(Level.FAIL, "model", f"{host}: {detail}", fix)


def database(settings: Settings) -> Finding:
    """The database answers, and has the tables of this version."""
    what = "database"
    if settings.database_url is None:
        return Finding(Level.OK, what, "none: calls are not written down")
    from callengine.store import Store

    try:
        with closing(Store.from_url(settings.database_url)) as store:
            return _tables(store)
    except SettingsError as error:
        return Finding(Level.FAIL, what, str(error), "correct CALLENGINE_DATABASE_URL")
    except RemoteError as error:
        fix = "start it, or correct CALLENGINE_DATABASE_URL; calls go on without it for a while"
        return Finding(Level.FAIL, what, str(error), fix)


def _tables(store: Store) -> Finding:
    what, fix = "database", "python -m callengine db upgrade"
    url = store.engine.url
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        return Finding(Level.FAIL, what, "the file is not there yet", fix)  # and is not made here
    store.ping()
    if not store.migrated():
        return Finding(Level.FAIL, what, "answers, and lacks tables of this version", fix)
    from callengine.store import current, head

    revision = current(store.engine)
    try:
        wanted = head()
    except SettingsError:  # Alembic is an extra
        return Finding(Level.OK, what, "answers, and has the tables")
    if revision not in {wanted, None}:
        return Finding(Level.FAIL, what, f"is at {revision}, and should be at {wanted}", fix)
    by_whom = "answers, and is up to date" if revision else "answers; the host made its tables"
    return Finding(Level.OK, what, by_whom)
