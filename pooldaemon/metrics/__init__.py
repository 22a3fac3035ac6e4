"""Metrics of pools and daemons for OpenTelemetry and Prometheus.

Modules are imported only if they are used. Each export reads :func:`pooldaemon.pool_stats`, so that
a borrow costs the same with and without metrics.
"""
