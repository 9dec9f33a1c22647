"""A server of JSON lines on standard input and output, as the Model Context Protocol has them.

    server.py NAME

It knows nothing of watchdog-shim. It starts a worker in a session of its own, which no end of a pipe and no signal to a
process group reaches: without the shim, that one outlives everybody. NAME only stands on both command lines.
"""

import json
import subprocess
import sys

WORKER = "import time\nwhile True: time.sleep(3600)"

subprocess.Popen(
    [sys.executable, "-c", WORKER, *sys.argv[1:]],
    stdin=subprocess.DEVNULL,
    stdout=subprocess.DEVNULL,
    start_new_session=True,
)

for line in sys.stdin:
    request = json.loads(line)
    answer = {"jsonrpc": "2.0", "id": request["id"], "result": request["params"]}
    print(json.dumps(answer), flush=True)
