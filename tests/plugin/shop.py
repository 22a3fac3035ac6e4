"""A project of somebody else's, with the examples of the documentation in it."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.docs.blocks import ROOT, example

FILES = {
    "settings.py": """
        SECRET_KEY = "of the tests"
        DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
        INSTALLED_APPS = ["pooldaemon", "shop"]
        USE_TZ = True
        DATABASES = {
            "default": {
                "ENGINE": "pooldaemon.backends.sqlite3",
                "NAME": "shop.sqlite3",
                "TEST": {"NAME": "test.sqlite3"},
            }
        }
        POOLDAEMON = {"IDLE_INTERVAL": 0.05}
    """,
    "shop/__init__.py": "",
    "shop/management/__init__.py": "",
    "shop/management/commands/__init__.py": "",
    "shop/models.py": """
        import time

        from django.db import models


        class Reminder(models.Model):
            phone = models.CharField(max_length=20)
            text = models.TextField()
            claimed_until = models.FloatField(default=0)
            sent = models.BooleanField(default=False)

            @classmethod
            def claim_next(cls):
                due = cls.objects.filter(sent=False, claimed_until__lt=time.time())
                if (reminder := due.first()) is not None:
                    reminder.claimed_until = time.time() + 0.5
                    reminder.save()
                return reminder

            def record(self):
                self.sent = True
                self.save()
    """,
    "shop/sms.py": """
        class Gateway:
            def send(self, phone, text):
                pass


        gateway = Gateway()
    """,
    "shop/reports.py": """
        from shop.models import Reminder


        def count_reminders():
            return Reminder.objects.count()
    """,
}


class Shop:
    """:param directory: made here."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name, text in FILES.items():
            self.write(name, textwrap.dedent(text))
        command = "shop/management/commands/send_reminders.py"
        self.write(command, example("daemons.rst", command))
        self.write("shop/reminders.py", example("testing.rst", "shop/reminders.py"))

    def write(self, name: str, text: str) -> None:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def test(self, *, passed: int = 0, failed: int = 0, errors: int = 0) -> str:
        """Run its tests, which must come out like this."""
        finished = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-p", "pooldaemon.pytest_plugin"),
                # A summary repeats reports, on a CI server at full length.
                *("-p", "no:cacheprovider", "-rN"),
            ],
            cwd=self.directory,
            env={
                **{name: value for name, value in os.environ.items() if "PYTEST" not in name},
                "DJANGO_SETTINGS_MODULE": "settings",
                "PYTHONPATH": os.pathsep.join((str(self.directory), str(ROOT))),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        output = finished.stdout + finished.stderr
        summary = output.rstrip().rpartition("\n")[2]
        counts = {"passed": passed, "failed": failed, "error": errors}
        for word, count in counts.items():
            match = re.search(rf"(\d+) {word}", summary)
            assert (int(match[1]) if match else 0) == count, output
        return output
