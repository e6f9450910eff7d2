"""Who may open a WebSocket to the simulated server: the checks of the HTTP upgrade.

For `PeerServer(check_request=...)`. The other way a key is refused, after the socket opened, is
`realtime_faults.key_refused`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from callengine.testing.sockets import refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from websockets.http11 import Request, Response


def refuse_beta_and_bad_keys(
    expected_key: str | None = None,
) -> Callable[[Request], Response | None]:
    """A check that answers 401 to a wrong or missing key, and 400 to the old beta header.

    Without an expected key any key will do. The real server lets a beta client in before it turns
    it away (`realtime_faults.beta_shape_refused`); refusing at the door fails a test sooner.
    """

    def check(request: Request) -> Response | None:
        if "OpenAI-Beta" in request.headers:
            return refusal(400, "beta_api_shape_disabled: leave out the header OpenAI-Beta\n")
        given = request.headers.get("Authorization", "")
        if not given.startswith("Bearer ") or (expected_key and given != f"Bearer {expected_key}"):
            return refusal(401, "invalid_api_key: the header Authorization has no valid key\n")
        return None

    return check
