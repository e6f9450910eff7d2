"""The one thing asked of Twilio's REST API: go on with a call in progress by other TwiML."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from http import HTTPStatus
from http.client import HTTPException
from typing import Final

from callengine.errors import RemoteError

TIMEOUT_S: Final = 3.0
"""One attempt: the caller is listening to silence meanwhile."""

CALL_IS_OVER: Final = 20404
"""Twilio's code for a call that is not in progress any more: nothing is left to be done."""

MAX_ANSWER_BYTES: Final = 65_536


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The credentials go where they were meant to go, and nowhere else."""

    def redirect_request(self, *_: object) -> None:
        """Refuse."""
        return


class TwilioRest:
    """Twilio's account API. It blocks, so only the host's side of a call may use it."""

    def __init__(self, auth_token: str, base_url: str) -> None:
        self._auth_token = auth_token
        self._base_url = base_url.rstrip("/")
        self._opener = urllib.request.build_opener(_NoRedirect())

    def redirect(self, account_sid: str, call_sid: str, twiml: str) -> None:
        """Have the call go on with `twiml`; its media stream ends with that.

        Raises RemoteError that says what Twilio answered. A call that is over is no error.
        """
        account, call = (urllib.parse.quote(sid, safe="") for sid in (account_sid, call_sid))
        request = urllib.request.Request(  # noqa: S310 - the scheme is the setting's
            f"{self._base_url}/2010-04-01/Accounts/{account}/Calls/{call}.json",
            data=urllib.parse.urlencode({"Twiml": twiml}).encode(),
            headers={"Authorization": self._authorization(account_sid)},
            method="POST",
        )
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                answer.read(MAX_ANSWER_BYTES)
        except urllib.error.HTTPError as error:
            with error:
                if _is_over(error):
                    return
            raise RemoteError(f"Twilio answered HTTP {error.code}") from None
        except (OSError, ValueError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise RemoteError(f"Twilio cannot be reached: {type(reason).__name__}") from None

    def _authorization(self, account_sid: str) -> str:
        pair = f"{account_sid}:{self._auth_token}".encode()
        return f"Basic {base64.b64encode(pair).decode('ascii')}"


def _is_over(error: urllib.error.HTTPError) -> bool:
    if error.code != HTTPStatus.NOT_FOUND:
        return False
    try:
        answer = json.loads(error.read(MAX_ANSWER_BYTES))
    except (OSError, ValueError):
        return False
    return isinstance(answer, dict) and answer.get("code") == CALL_IS_OVER
