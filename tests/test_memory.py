"""What a drain frees, the next one takes again without the kernel's help."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

COUNT = """
import resource
import numpy as np
from daemon.memory import keep_freed

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        drain = [np.ones(250_000) for _ in range(16)]
        del drain
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_freed()
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_the_arrays_of_a_drain_take_no_new_pages():
    run = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 1_000  # 20 drains of 32 MB are 160,000 pages
