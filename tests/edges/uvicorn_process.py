"""uvicorn as a process of its own on a socket it is given: `... <fd> <lifespan> <drain_s>`."""

from __future__ import annotations

import socket
import sys

import uvicorn

from callengine import CallEngine
from callengine.edges.asgi import VoiceApp


def main(descriptor: str, lifespan: str, drain_s: str) -> None:
    plug = socket.socket(fileno=int(descriptor))
    app = VoiceApp(CallEngine(), drain_s=float(drain_s))
    config = uvicorn.Config(app, log_level="warning", lifespan=lifespan)  # type: ignore[arg-type]
    uvicorn.Server(config).run([plug])


if __name__ == "__main__":
    main(*sys.argv[1:])
