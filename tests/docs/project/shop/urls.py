from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import path

from shop.models import Order


async def index(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(await Order.objects.acount()))


urlpatterns = [path("", index), path("admin/", admin.site.urls)]
