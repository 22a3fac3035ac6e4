"""A small real project on pooldaemon: signed webhooks, delivered by processes and threads."""
