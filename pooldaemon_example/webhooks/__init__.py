"""Webhook delivery: a table of deliveries, and a unit of work that makes the next one."""
