"""What the ORM's requests read."""

from django.db import models

ROWS = 100
"""That the table has, with the keys from 1."""


class Note(models.Model):
    title = models.CharField(max_length=100)
    written_at = models.DateTimeField()

    class Meta:
        app_label = "benchmarks"

    def __str__(self) -> str:
        return self.title
