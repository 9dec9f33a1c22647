#!/bin/sh
# A host in POSIX shell whose server, with all that the server starts, ends when the host does, SIGKILL included.
#
#     host.sh SHIM SERVER [ARG...]

set -eu
shim=$1
shift

folder=$(mktemp -d)
mkfifo "$folder/requests" "$folder/answers"

# The lifetime hangs on the server's standard input, of which this shell alone has the other end: it is opened after
# the shim was started.
"$shim" --watch=stdin -- "$@" <"$folder/requests" >"$folder/answers" &
exec 3>"$folder/requests" 4<"$folder/answers"
rm -r "$folder"

echo '{"jsonrpc": "2.0", "id": 1, "method": "echo", "params": "hello"}' >&3
read -r answer <&4
echo "$answer"
wait
