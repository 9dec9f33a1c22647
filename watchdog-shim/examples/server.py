"""A server of JSON lines on standard input and output, as the Model Context Protocol has them.

    server.py polite|deaf FOLDER

It knows nothing of watchdog-shim. It starts a worker in a session of its own, which no end of a pipe and no signal to a
process group reaches: without the shim, that one outlives everybody. A deaf server goes on when its input has ended,
and its worker ignores SIGTERM too. FOLDER gets the file "eof" when the input has ended.
"""

import json
import pathlib
import signal
import subprocess
import sys

WORKER = """
import signal, sys
if sys.argv[1] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
while True: signal.pause()
"""

manners, folder = sys.argv[1:]

worker = subprocess.Popen(
    [sys.executable, "-c", WORKER, manners, folder],
    stdin=subprocess.DEVNULL,
    stdout=subprocess.PIPE,
    start_new_session=True,
)
worker.stdout.readline()

for line in sys.stdin:
    request = json.loads(line)
    answer = {"jsonrpc": "2.0", "id": request["id"], "result": request["params"]}
    print(json.dumps(answer), flush=True)

pathlib.Path(folder, "eof").touch()
while manners == "deaf":
    signal.pause()
