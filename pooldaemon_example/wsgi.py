"""The admin under a WSGI server."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pooldaemon_example.settings")
application = get_wsgi_application()
