"""Our backend over the one that a package's tests bring, which is a subclass of Django's."""

import os
from importlib import import_module

from pooldaemon.backends.mysql import base as pooled

theirs = import_module(f"{os.environ['CONFORMANCE_ENGINE']}.base").DatabaseWrapper
DatabaseWrapper = type("DatabaseWrapper", (pooled.DatabaseWrapper, theirs), {})
