from django.db import models


class Row(models.Model):  # noqa: DJ008 - it is counted, never shown
    class Meta:
        app_label = "project"
        db_table = "t"
