"""A Django project that answers the phone: calls.py says how, urls.py and asgi.py where."""
