"""The nginx configuration of the documents, with nginx itself if this machine has it."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from callengine.testing import BargeIn, SimulatedRealtime, WaitUntilQuiet
from callengine.testing.held import reply
from callengine.testing.sockets import PeerServer
from callengine.testing.speech import clip
from tests.hosts.phone import HEARD_S, Phone, heard
from tests.hosts.servers import Server, running, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

NGINX = shutil.which("nginx")
CONFIGURATION = Path(__file__).parent.parent.parent / "docs/nginx.conf"
ANSWER = reply(1.0, 2)

pytestmark = [
    pytest.mark.realtime,
    pytest.mark.timeout(60),
    pytest.mark.skipif(NGINX is None, reason="there is no nginx on this machine"),
]


def configuration(folder: Path, *ports: int) -> str:
    """That of the documents, without TLS and on ports of this machine."""
    lines = CONFIGURATION.read_text("utf-8").splitlines()
    text = "\n".join(line for line in lines if "ssl_certificate" not in line)
    text = text.replace("listen 443 ssl;", "listen 127.0.0.1:{port};")
    for written, port in zip((8001, 8002), ports, strict=True):
        text = text.replace(f"127.0.0.1:{written}", f"127.0.0.1:{port}")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    return (
        f"daemon off; error_log stderr; pid {folder}/pid;\nevents {{}}\n"
        f"http {{ access_log off;\n{temporary}{text}\n}}\n"
    )


@contextlib.contextmanager
def nginx(folder: Path, *servers: Server) -> Iterator[Server]:
    text = configuration(folder, *(each.port for each in servers))
    file = folder / "nginx.conf"
    begin = f'echo "$1" > {file} && exec {NGINX} -p {folder} -c {file}'
    with running(["sh", "-c", begin, "sh", text], "") as proxy:
        yield proxy


@pytest.fixture(name="model_url", scope="module")
def models() -> Iterator[str]:
    with PeerServer(lambda: SimulatedRealtime([reply(4.0, 1), ANSWER])) as server:
        yield server.url


def test_a_call_by_way_of_nginx(tmp_path: Path, model_url: str) -> None:
    with (
        serving("uvicorn, FastAPI", model_url) as one,
        serving("gunicorn gthread, Flask", model_url, CALLENGINE_MAX_CALLS="4") as other,
        nginx(tmp_path, one, other) as proxy,
    ):
        phone = Phone(proxy.port)
        for _ in range(2):
            record = phone.hold(
                phone.line(),
                BargeIn(clip("caller_barge_in_1"), after_heard_s=0.6, timeout_s=HEARD_S),
                WaitUntilQuiet(quiet_s=0.7, timeout_s=HEARD_S),
            )
            assert not record.missed
            assert not record.violations
            assert ANSWER.audio in heard(record)
        line = phone.line()
        assert phone.ring(signature="AAAA")[0] == 403
        assert phone.upgrade_status(line.path, {"x-twilio-signature": "AAAA"}) == 403
        assert phone.get("/voice/ready")[0] == phone.get("/voice/health")[0] == 404


def test_a_process_that_drains_is_passed_over(tmp_path: Path, model_url: str) -> None:
    with (
        serving("uvicorn", model_url, DRAIN_S="30") as one,
        serving("uvicorn", model_url) as other,
        nginx(tmp_path, one, other) as proxy,
    ):
        staying = Phone(one.port).begin(Phone(one.port).line(), WaitUntilQuiet(0.7, HEARD_S))
        staying.wait_until_heard()
        one.terminate()
        while Phone(one.port).ready()["status"] == 200:
            pass
        phone = Phone(proxy.port)
        for _ in range(4):
            assert phone.ring()[0] == 200
        assert phone.hold(phone.line(), WaitUntilQuiet(0.5, HEARD_S)).frames
        assert other.summary()["end_cause"] == "caller_hung_up"
        assert not staying.join().missed
