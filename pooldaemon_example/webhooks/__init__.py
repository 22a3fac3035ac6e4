"""Webhook delivery: a table of deliveries, and a unit of work that sends the next one."""
