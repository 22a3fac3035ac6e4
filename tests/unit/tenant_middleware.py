from typing import Any

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.http import Http404, HttpRequest
from django.utils.decorators import sync_and_async_middleware

from pooldaemon import use_database


def database_of(request: HttpRequest) -> dict[str, Any]:
    """The database settings of the host's tenant, such as {"NAME": "acme", "USER": "acme", …}."""
    host = request.get_host().partition(":")[0]
    try:
        return settings.TENANTS[host]
    except KeyError:
        raise Http404(f"no tenant has the host {host}") from None


@sync_and_async_middleware
def tenant_middleware(get_response: Any) -> Any:
    if iscoroutinefunction(get_response):

        async def middleware(request: HttpRequest) -> Any:
            async with use_database("default", **database_of(request)):
                return await get_response(request)
    else:

        def middleware(request: HttpRequest) -> Any:
            with use_database("default", **database_of(request)):
                return get_response(request)

    return middleware
