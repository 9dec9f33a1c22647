"""A host in Python whose server, with all that the server starts, ends when the host does, SIGKILL included.

    host.py SHIM fd|stdin SERVER [ARG...]
"""

import json
import os
import signal
import subprocess
import sys

shim, watch, *server = sys.argv[1:]

if watch == "stdin":
    # The lifetime hangs on the server's standard input, of which this process alone has the other end.
    process = subprocess.Popen(
        [shim, "--watch=stdin", "--stop-timeout=2s", "--", *server],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
else:
    # The lifetime hangs on a pipe of its own, and standard input may end before. Python makes both ends close-on-exec:
    # nobody else that this process starts holds the write end.
    ended, lives = os.pipe()
    process = subprocess.Popen(
        [shim, f"--watch=fd:{ended}", "--stop-timeout=2s", "--", *server],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[ended],
        text=True,
    )
    os.close(ended)

request = {"jsonrpc": "2.0", "id": 1, "method": "echo", "params": "hello"}
process.stdin.write(json.dumps(request) + "\n")
process.stdin.flush()
print(json.loads(process.stdout.readline())["result"], flush=True)

while True:
    signal.pause()
