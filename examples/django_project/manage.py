"""Django's command line. `runserver` shows the pages, but holds no call: see practice/asgi.py."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "practice.settings")
    execute_from_command_line(sys.argv)
