"""All threads of a training process share one memory pool of the C library."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from spinenet_tf._fast import pools

# Each of four threads, all alive at once, allocates; glibc then lists its pools, "heaps", as XML. The file of the
# function is run alone: the package would import TensorFlow.
CHILD = """
import ctypes, runpy, sys, threading

if sys.argv[1] == "shared":
    runpy.run_path(sys.argv[2])["share_one_pool"]()
libc, barrier = ctypes.CDLL("libc.so.6"), threading.Barrier(4)
libc.malloc.restype = ctypes.c_void_p

def allocate():
    barrier.wait()
    assert libc.malloc(1000)
    barrier.wait()

threads = [threading.Thread(target=allocate) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(b"/dev/stdout", b"w"))
libc.malloc_info(0, file)
libc.fflush(file)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the pools are glibc's")
def test_threads_share_one_pool() -> None:
    found = {}
    for how in ("shared", "apart"):
        command = [sys.executable, "-c", CHILD, how, pools.__file__]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[how] = done.stdout.count("<heap nr=")
    assert found["shared"] == 1
    assert found["apart"] > 1
