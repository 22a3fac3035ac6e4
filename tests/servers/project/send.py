"""Send so many tasks: python -m tests.servers.project.send 50."""

import sys

from tests.servers.project.tasks import write

for _ in range(int(sys.argv[1])):
    write.delay()
