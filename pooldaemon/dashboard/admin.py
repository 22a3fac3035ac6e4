"""The page "Pools and daemons"."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_GET, require_POST

from pooldaemon.conf import read_publish_interval
from pooldaemon.dashboard.actions import ActionError, carry_out, find_source, read_action
from pooldaemon.dashboard.models import Snapshot
from pooldaemon.dashboard.sources import Source, all_sources
from pooldaemon.stats import BOUNDS

HISTORY = 10
"""Actions that the page shows, the latest."""


@admin.register(Snapshot)
class SnapshotAdmin(admin.ModelAdmin):
    """Replaces the list of rows by the page."""

    def get_urls(self) -> list[URLPattern]:
        views = {"": self.changelist_view, "data/": self.data_view, "act/": self.act_view}
        names = {"": "changelist", "data/": "data", "act/": "act"}
        return [
            path(where, self.admin_site.admin_view(view), name=self._name(names[where]))
            for where, view in views.items()
        ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Snapshot | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Snapshot | None = None) -> bool:
        return False

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(f"{self.opts.app_label}.operate_snapshot")

    # -- views ------------------------------------------------------------------------

    @method_decorator(require_GET)
    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self._check_view(request)
        context = {
            **self.admin_site.each_context(request),
            "title": "Pools and daemons",
            "opts": self.opts,
            "may_operate": self.has_operate_permission(request),
            "config": {
                "data": self._address("data"),
                "act": self._address("act"),
                "bounds": BOUNDS,
                "interval": read_publish_interval(),
            },
            **(extra_context or {}),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/pooldaemon_dashboard/page.html", context)

    @method_decorator(require_GET)
    def data_view(self, request: HttpRequest) -> HttpResponse:
        """Everything that the page shows, as JSON; requested at least every two seconds."""
        self._check_view(request)
        data = {
            "sources": [source.describe() for source in all_sources()],
            "history": self._history(),
        }
        return JsonResponse(data)

    @method_decorator(require_POST)
    def act_view(self, request: HttpRequest) -> HttpResponse:
        self._check_view(request)
        if not self.has_operate_permission(request):
            raise PermissionDenied
        try:
            command, values = read_action(request.POST.dict())
            source = find_source(request.POST.get("source", ""))
        except ActionError as error:
            return JsonResponse({"error": str(error)}, status=400)
        action = " ".join([command, *map(str, values.values())])
        try:
            outcome = carry_out(source, command, values)
        except ActionError as error:
            self._log(request, source, f"{action}: {error}")
            return JsonResponse({"error": f"{source.name}: {error}"}, status=409)
        self._log(request, source, f"{action}: {outcome}")
        return JsonResponse({"message": f"{source.name}: {action}: {outcome}"})

    # -- inside -----------------------------------------------------------------------

    def _name(self, view: str) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{view}"

    def _address(self, view: str) -> str:
        return reverse(f"admin:{self._name(view)}", current_app=self.admin_site.name)

    def _check_view(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def _log(self, request: HttpRequest, source: Source, message: str) -> None:
        self.log_change(request, Snapshot(source.row, source.id, source.name), message)

    def _history(self) -> list[dict[str, str]]:
        kind = ContentType.objects.get_for_model(Snapshot)
        entries = LogEntry.objects.filter(content_type=kind).select_related("user")
        return [
            {
                "when": entry.action_time.isoformat(),
                "who": str(entry.user),
                "what": f"{entry.object_repr}: {entry.get_change_message()}",
            }
            for entry in entries.order_by("-action_time")[:HISTORY]
        ]
