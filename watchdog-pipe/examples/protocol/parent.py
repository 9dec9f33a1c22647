#!/usr/bin/env python3
"""A parent that keeps a child alive by a pipe of its own, as WATCHDOG_PIPE describes it.

    parent.py PROGRAM [ARG...]

Says the child's number. Takes "drop" or "release" on standard input, and says how the child ended.
"""

import os, signal, subprocess, sys

read, write = os.pipe()  # close-on-exec, both: no other child ever holds the write end
os.set_blocking(write, False)  # a child that fills its pipe does not hold up its parent
pipe = os.fstat(read)
variable = f"fd={read},pipe={pipe.st_dev}:{pipe.st_ino},stop={signal.SIGINT:d}:5000"
environment = {**os.environ, "WATCHDOG_PIPE": variable}
child = subprocess.Popen(sys.argv[1:], env=environment, pass_fds=[read], stdin=subprocess.DEVNULL)
os.close(read)
print(child.pid, flush=True)

# The work. At its end the kernel closes the pipe, and so it does at SIGKILL.
order = sys.stdin.readline().strip()
if order:
    os.write(write, {"drop": b"wd:drop\n", "release": b"wd:free\n"}[order])
    os.close(write)
    print(child.wait(), flush=True)
