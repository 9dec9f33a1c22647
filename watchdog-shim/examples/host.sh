#!/bin/sh
# A host in POSIX shell whose server, with all that the server starts, ends when the host does, SIGKILL included.
#
#     host.sh SHIM fd|stdin SERVER [ARG...]

set -eu
shim=$1 watch=$2
shift 2

folder=$(mktemp -d)
mkfifo "$folder/requests" "$folder/answers" "$folder/life"

# This shell opens the other ends after the shim was started, so that the shim does not inherit them.
if [ "$watch" = stdin ]; then
    # The lifetime hangs on the server's standard input.
    "$shim" --watch=stdin --stop-timeout=2s -- "$@" <"$folder/requests" >"$folder/answers" &
else
    # The lifetime hangs on a pipe of its own, which is descriptor 3 of the shim. The server does not get it.
    "$shim" --watch=fd:3 --stop-timeout=2s -- "$@" <"$folder/requests" >"$folder/answers" 3<"$folder/life" &
fi
exec 4>"$folder/requests" 5<"$folder/answers"
# A shell's descriptors are not close-on-exec: every other program that it starts would need 4>&- 6>&- behind it.
[ "$watch" = stdin ] || exec 6>"$folder/life"
rm -r "$folder"

echo '{"jsonrpc": "2.0", "id": 1, "method": "echo", "params": "hello"}' >&4
read -r answer <&5
echo "$answer"
wait
