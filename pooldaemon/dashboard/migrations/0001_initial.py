"""The tables as they started."""

import django.db.models.deletion
from django.db import migrations, models
from django.db.models.functions import Now


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Snapshot",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("source", models.CharField(max_length=191, unique=True)),
                ("name", models.CharField(max_length=100)),
                ("host", models.CharField(max_length=255)),
                ("data", models.JSONField()),
                ("updated_at", models.DateTimeField(db_default=Now(), db_index=True)),
            ],
            options={
                "verbose_name": "pools and daemons",
                "verbose_name_plural": "pools and daemons",
                "permissions": (("operate_snapshot", "Can operate daemons"),),
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="Order",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("command", models.CharField(max_length=20)),
                ("values", models.JSONField()),
                ("created_at", models.DateTimeField(db_default=Now())),
                ("taken_at", models.DateTimeField(null=True)),
                ("answer", models.JSONField(null=True)),
                (
                    "snapshot",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="orders",
                        to="pooldaemon_dashboard.snapshot",
                    ),
                ),
            ],
            options={"default_permissions": ()},
        ),
    ]
