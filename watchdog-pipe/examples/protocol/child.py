#!/usr/bin/env python3
"""A child that follows the pipe of WATCHDOG_PIPE: repeats its standard input, and ends when its
parent does."""

import os, re, signal, sys, threading, time

# Taken out: it is for this process, and not for the programs that it starts.
text = os.environ.pop("WATCHDOG_PIPE", None)
fields = dict(field.split("=", 1) for field in text.split(",")) if text is not None else {}
pipe, number = (fields["pipe"], int(fields["fd"])) if text is not None else ("", -1)
try:
    found = os.fstat(number)
    supervised = f"{found.st_dev}:{found.st_ino}" == pipe
except OSError:  # the number is not open: the variable was written for another process
    supervised = False

def watch():
    seen = b""
    while not (word := re.search(rb"wd:(drop|free)\n", seen)) and (data := os.read(number, 64)):
        seen = seen[-7:] + data
    verdict = {b"drop": "dropped", b"free": "released"}[word[1]] if word else "exited"
    print(verdict, flush=True)
    if verdict != "released":
        stop, grace = map(int, fields.get("stop", "15:5000").split(":"))
        os.kill(os.getpid(), stop)
        time.sleep(min(grace / 1000, threading.TIMEOUT_MAX))
        os.kill(os.getpid(), signal.SIGKILL)

print("ready" if supervised else "unsupervised", flush=True)
if supervised:
    os.set_inheritable(number, False)
    threading.Thread(target=watch, daemon=True).start()

for line in sys.stdin:  # the work
    print(line, end="", flush=True)
