"""Every error the library raises.

CallEngineError
|- LocalError          the caller of the library asked for something impossible
|  |- SettingsError    a setting is missing or out of range; names the setting and the fix
|  `- EngineStopped    the engine no longer takes calls
`- RemoteError         Twilio, the model or a network between is at fault
   `- EdgeClosed       the socket is gone; carries the close code and reason
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


class RemoteError(CallEngineError):
    """The other side of a socket, or the network between, is at fault."""


class EdgeClosed(RemoteError):  # noqa: N818 - named like the event it reports
    """The socket is gone. `code` is the WebSocket close code, 1006 when it was cut."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"socket closed with {code}{': ' + reason if reason else ''}")
        self.code = code
        self.reason = reason
