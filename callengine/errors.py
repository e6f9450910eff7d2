"""Every error the library raises.

CallEngineError
|- LocalError          the caller of the library asked for something impossible
|  |- SettingsError    a setting is missing or out of range; names the setting and the fix
|  |- EngineStopped    the engine no longer takes calls
|  |- UnsupportedHost  the process is of a kind that cannot hold calls; names the way out
|  `- StartedBeforeFork  the engine was started in another process; names the way out
`- RemoteError         Twilio, the model, the database or a network between is at fault
   |- EdgeClosed       the socket is gone; carries the close code and reason
   |- StoreUnavailable the database did not do it now; the same may be asked again
   `- StoreRefused     the database will never take this, or holds what nobody can read

SignaturesOff is a warning: the settings let anybody call.
"""

from __future__ import annotations


class CallEngineError(Exception):
    """Base of every error raised by callengine."""


class LocalError(CallEngineError):
    """The library was asked for something impossible."""


class SettingsError(LocalError):
    """A setting is missing or out of range."""


class EngineStopped(LocalError):  # noqa: N818 - named like the state it reports
    """The engine no longer takes calls."""


class UnsupportedHost(LocalError):  # noqa: N818 - named like the state it reports
    """The process is of a kind that cannot hold calls."""


class StartedBeforeFork(LocalError):  # noqa: N818 - named like the event it reports
    """The engine's threads were started in another process, and did not come along."""


class RemoteError(CallEngineError):
    """The other side of a socket, or the network between, is at fault."""


class EdgeClosed(RemoteError):  # noqa: N818 - named like the event it reports
    """The socket is gone. `code` is the WebSocket close code, 1006 when it was cut."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"socket closed with {code}{': ' + reason if reason else ''}")
        self.code = code
        self.reason = reason


class StoreUnavailable(RemoteError):  # noqa: N818 - named like the state it reports
    """The database did not do it now: away, locked, too slow or not migrated. Ask again later."""


class StoreRefused(RemoteError):  # noqa: N818 - named like the event it reports
    """The database will never take this, or holds what nobody can read: asking again is vain."""


class SignaturesOff(UserWarning):
    """The settings let anybody call who reaches the server."""
