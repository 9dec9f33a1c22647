#!/bin/sh
# A child that follows the pipe of WATCHDOG_PIPE: repeats its standard input, and ends when its
# parent does.
# A shell knows descriptors of one digit. `stat -c` is not POSIX: the GNU tools and BusyBox have it.
set -efu

fd='' pipe=''
if [ -n "${WATCHDOG_PIPE+set}" ]; then
    IFS=,
    for field in $WATCHDOG_PIPE; do
        case $field in
        fd=*) fd=${field#fd=} ;;
        pipe=*) pipe=${field#pipe=} ;;
        esac
    done
    unset IFS WATCHDOG_PIPE # for this process, and not for the programs that it starts
    case $fd:$pipe in
    [3-9]:*:*) ;;
    *) echo "WATCHDOG_PIPE: no pipe on a number of one digit" >&2; exit 2 ;;
    esac
fi

watch() {
    verdict=exited
    while IFS= read -r line; do
        case $line in
        *wd:drop) verdict=dropped; break ;;
        *wd:free) verdict=released; break ;;
        *wd:died) break ;;
        esac
    done
    echo "$verdict"
    [ "$verdict" = released ] || kill -s TERM $$
}

# Any other file on that number: the variable was written for another process.
if [ -n "$fd" ] && [ "$(stat -Lc %d:%i "/proc/self/fd/$fd" 2>/dev/null)" = "$pipe" ]; then
    watch <&"$fd" &
    watcher=$!
    eval "exec $fd<&-"
    # The watcher must not outlive this shell: the number that it signals would be another's.
    trap 'kill "$watcher" 2>/dev/null || :' EXIT
    echo ready
else
    echo unsupervised
fi

while IFS= read -r line; do # the work
    printf '%s\n' "$line"
done
