"""The table of deliveries, with their state and outcome."""

from django.db import models
from django.utils import timezone

URL_LENGTH = 2000
ERROR_LENGTH = 500


class Delivery(models.Model):
    class Status(models.TextChoices):
        PENDING = "pending"
        DELIVERED = "delivered"
        DEAD = "dead"

    url = models.CharField(max_length=URL_LENGTH)
    payload = models.JSONField()
    status = models.CharField(max_length=9, choices=Status, default=Status.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField(
        default=timezone.now,
        help_text="The next attempt; during one, the end of its lease.",
    )
    claim_token = models.UUIDField(null=True, help_text="Who may record the attempt.")
    response_status = models.PositiveSmallIntegerField(null=True)
    response_body = models.TextField(blank=True, help_text="The beginning of the last answer.")
    error = models.CharField(max_length=ERROR_LENGTH, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "deliveries"
        # In the order of the claim's WHERE and ORDER BY: with another index the server would sort,
        # and lock all due rows instead of one.
        indexes = (models.Index(fields=["status", "due_at", "id"], name="webhooks_due"),)

    def __str__(self) -> str:
        return f"{self.pk} to {self.url}"
