"""Deliveries in the admin: read-only, with an action that retries dead ones."""

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from pooldaemon_example.webhooks.models import Delivery


@admin.register(Delivery)
class DeliveryAdmin(admin.ModelAdmin):
    list_display = ("id", "url", "status", "attempts", "due_at", "response_status", "error")
    list_filter = ("status", "response_status", "created_at")
    search_fields = ("=id", "url", "error")
    ordering = ("-id",)
    actions = ("retry_dead",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Delivery | None = None) -> bool:
        # A single delivery is read-only. The list asks without one; its action needs the
        # permission.
        return obj is None and super().has_change_permission(request)

    @admin.action(description="Retry dead deliveries", permissions=["change"])
    def retry_dead(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        retried = queryset.filter(status=Delivery.Status.DEAD).update(
            status=Delivery.Status.PENDING,
            attempts=0,
            due_at=timezone.now(),
            finished_at=None,
        )
        self.message_user(request, f"Dead deliveries to be retried: {retried}", messages.SUCCESS)
