"""Python runs this in each process that a package's test starts, as the directory is on PYTHONPATH.

They are on the same backend as the test, and on its databases.
"""

import os

if "CONFORMANCE_CHILD" in os.environ:
    from conformance.substitution import substitute

    substitute(in_child=True)
