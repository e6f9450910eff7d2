"""Django under an ASGI server, with the media socket at /voice/media. Channels are not needed.

    pip install 'callengine[django]' 'uvicorn[standard]'
    export OPENAI_API_KEY=... TWILIO_AUTH_TOKEN=... CALLENGINE_PUBLIC_URL=https://voice.example.com
    uvicorn practice.asgi:application --app-dir examples/django_project --ws-max-size 65536

CALLENGINE_PUBLIC_URL is where Twilio reaches this server: a tunnel's address will do to try it out.
Let the number's voice webhook be that with /voice/incoming behind it, and call. `python -m
callengine doctor` says what is missing. If CALLENGINE_DATABASE_URL is set, calls are written down
(`python -m callengine db upgrade` makes the tables).
"""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "practice.settings")
django = get_asgi_application()  # before anything that needs Django's settings

from callengine.adapters.django import media_app  # noqa: E402
from practice.calls import call_over, engine  # noqa: E402

application = media_app(django, engine, on_call=call_over)
