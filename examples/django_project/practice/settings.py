"""As small as Django allows; what a real project has beside it makes no difference to calls."""

import os
from urllib.parse import urlsplit

SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "only to try it out")
ROOT_URLCONF = "practice.urls"
MIDDLEWARE = [
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",  # does not ask Twilio for a token
]
# Twilio comes by this name; health checks must, too (docs/deploy.md).
PUBLIC = urlsplit(os.environ.get("CALLENGINE_PUBLIC_URL", "")).hostname
ALLOWED_HOSTS = ["localhost", "127.0.0.1", *([PUBLIC] if PUBLIC else [])]
