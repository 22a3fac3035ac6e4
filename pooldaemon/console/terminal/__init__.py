"""``top`` on a terminal. Needs rich, the package of the extra ``top``."""
