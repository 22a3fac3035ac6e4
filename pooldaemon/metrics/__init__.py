"""What pools and daemons tell to OpenTelemetry and Prometheus, read from their own statistics.

Nothing here is imported unless it is asked for, and nothing is counted twice: each export reads
:func:`pooldaemon.pool_stats`, so that a borrow costs the same with metrics and without.
"""
