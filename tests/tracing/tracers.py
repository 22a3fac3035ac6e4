"""Tracing packages, switched on, each with a list of the spans that it has sent.

Each function switches one on before Django is set up, and returns a context in which spans are
recorded, and the list of them. It raises ImportError where the package is not installed.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

Recording = tuple[Callable[[], AbstractContextManager[Any]], list[str]]


def _opentelemetry() -> tuple[Any, list[str]]:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

    spans: list[str] = []

    class Collect(SpanProcessor):
        def on_end(self, span: Any) -> None:
            spans.append(span.attributes.get("db.statement") or span.name)

    provider = TracerProvider()
    provider.add_span_processor(Collect())
    return provider, spans


def opentelemetry_mysqlclient() -> Recording:
    from opentelemetry.instrumentation.mysqlclient import MySQLClientInstrumentor

    provider, spans = _opentelemetry()
    MySQLClientInstrumentor().instrument(tracer_provider=provider)
    return nullcontext, spans


def opentelemetry_sqlcommenter() -> Recording:
    from opentelemetry.instrumentation.mysqlclient import MySQLClientInstrumentor

    provider, spans = _opentelemetry()
    MySQLClientInstrumentor().instrument(tracer_provider=provider, enable_commenter=True)
    return nullcontext, spans


def opentelemetry_dbapi() -> Recording:
    import MySQLdb
    from opentelemetry.instrumentation.dbapi import trace_integration

    provider, spans = _opentelemetry()
    trace_integration(MySQLdb, "connect", "mysql", tracer_provider=provider)
    return nullcontext, spans


def ddtrace() -> Recording:
    from ddtrace import patch
    from ddtrace.trace import TraceFilter, tracer

    spans: list[str] = []

    class Collect(TraceFilter):
        def process_trace(self, trace: Any) -> None:  # nothing is sent
            spans.extend(span.resource for span in trace)

    tracer.configure(trace_processors=[Collect()])
    patch(mysqldb=True)
    return nullcontext, spans


def ddtrace_django() -> Recording:
    from ddtrace import patch

    recording = ddtrace()
    patch(django=True)
    return recording


def elastic_apm() -> Recording:
    from contextlib import contextmanager

    import elasticapm

    spans: list[str] = []

    class Collect(elasticapm.Client):  # type: ignore[misc]
        def queue(self, event_type: str, data: Any, flush: bool = False) -> None:
            if event_type == "span":
                spans.append(data["context"]["db"]["statement"])

    client = Collect(service_name="shop", metrics_interval="0ms", central_config=False)
    elasticapm.instrument()

    @contextmanager
    def transaction() -> Any:
        client.begin_transaction("unit")
        yield
        client.end_transaction("unit")

    return transaction, spans


def newrelic() -> Recording:
    import newrelic.agent
    from newrelic.api.database_trace import DatabaseTrace

    spans: list[str] = []
    enter = DatabaseTrace.__enter__

    def noting(self: Any) -> Any:
        spans.append(self.sql)
        return enter(self)

    DatabaseTrace.__enter__ = noting
    newrelic.agent.global_settings().developer_mode = True
    newrelic.agent.global_settings().app_name = "shop"
    newrelic.agent.initialize()
    application = newrelic.agent.register_application("shop", timeout=10)
    return lambda: newrelic.agent.BackgroundTask(application, "unit"), spans


def sentry() -> Recording:
    import sentry_sdk
    from sentry_sdk.transport import Transport

    spans: list[str] = []

    class Collect(Transport):
        def capture_envelope(self, envelope: Any) -> None:
            event = envelope.get_transaction_event() or {}
            spans.extend(span["description"] for span in event.get("spans", ()))

    sentry_sdk.init("http://key@localhost/1", transport=Collect(), traces_sample_rate=1.0)
    return lambda: sentry_sdk.start_transaction(name="unit"), spans


def scout() -> Recording:
    from contextlib import contextmanager

    from scout_apm.core.tracked_request import TrackedRequest
    from scout_apm.django.instruments.sql import ensure_sql_instrumented

    spans: list[str] = []

    @contextmanager
    def request() -> Any:
        ensure_sql_instrumented()
        tracked = TrackedRequest.instance()
        tracked.start_span(operation="Job/unit")
        yield
        spans.extend(
            s.tags["db.statement"] for s in tracked.complete_spans if "db.statement" in s.tags
        )
        tracked.complete_spans.clear()
        tracked.stop_span()

    return request, spans


TRACERS: dict[str, Callable[[], Recording]] = {
    "opentelemetry-instrumentation-mysqlclient": opentelemetry_mysqlclient,
    "its sqlcommenter": opentelemetry_sqlcommenter,
    "opentelemetry-instrumentation-dbapi": opentelemetry_dbapi,
    "ddtrace": ddtrace,
    "ddtrace and its Django integration": ddtrace_django,
    "elastic-apm": elastic_apm,
    "newrelic": newrelic,
    "sentry-sdk": sentry,
    "scout-apm": scout,
}
