# fish completions for watchdog-shim.
# Made by `cargo xtask man` from the table of the shim's options: edit that, not this file.

# Whether COMMAND does not stand before the cursor.
function __watchdog_shim_before_command
    set -l words (commandline -opc)
    set -e words[1]
    while set -q words[1]
        switch $words[1]
            case --
                return 1
            case --contain --require --watch --stop-signal --signal-to --stop-timeout --on-exit --session --status-fd --exit
                # Its value is the next word.
                set -e words[1]
            case '-*'
            case '*'
                return 1
        end
        set -e words[1]
    end
    return 0
end

complete -c watchdog-shim -f
complete -c watchdog-shim -n __watchdog_shim_before_command -l contain -x -a 'auto\t"the strongest that COMMAND does not notice"
pidns\t"a PID namespace of its own"
cgroup\t"a cgroup of its own"
subreaper\t"orphans come to the shim, which finds them in /proc"
none\t"COMMAND alone is stopped"' -d 'how the tree is held together'
complete -c watchdog-shim -n __watchdog_shim_before_command -l require -x -a 'good\t"nothing is left, unless all processes of the shim are killed at once"
certain\t"nothing is left, whatever is killed"' -d 'refuse to start with less'
complete -c watchdog-shim -n __watchdog_shim_before_command -l watch -x -a 'env\t"the link that the environment names"
fd:\t"the other end of a pipe or a socket"
stdin\t"the other end of standard input"
parent\t"the process that started the shim"
parent:\t"the same, if its pid is N"' -d 'what the lifetime hangs on'
complete -c watchdog-shim -n __watchdog_shim_before_command -l stop-signal -x -a 'TERM INT QUIT HUP USR1 USR2 KILL' -d 'first step of the stop'
complete -c watchdog-shim -n __watchdog_shim_before_command -l signal-to -x -a 'main\t"COMMAND alone"
group\t"COMMAND\'s process group"
all\t"the whole tree"' -d 'who gets it'
complete -c watchdog-shim -n __watchdog_shim_before_command -l stop-timeout -x -a '500ms 2s 10s 1m' -d 'grace before SIGKILL'
complete -c watchdog-shim -n __watchdog_shim_before_command -l on-exit -x -a 'stop\t"they are stopped"
wait\t"the shim waits for their end"
leave\t"they are left alone, and the shim ends"' -d 'when COMMAND has ended and others live'
complete -c watchdog-shim -n __watchdog_shim_before_command -l session -x -a 'keep\t"the shim\'s own; job control works"
new\t"one of its own, without a terminal"' -d 'COMMAND\'s'
complete -c watchdog-shim -n __watchdog_shim_before_command -l status-fd -x -a '1 2 3' -d 'report as JSON lines; the last one is gone'
complete -c watchdog-shim -n __watchdog_shim_before_command -l exit -x -a 'mirror\t"the shim dies of the same signal"
shell\t"the shim exits with 128 and the number of the signal"' -d 'die of COMMAND\'s signal, or exit with 128+N'
complete -c watchdog-shim -n __watchdog_shim_before_command -l print-plan -d 'say what would hold here, and why not more'
complete -c watchdog-shim -n __watchdog_shim_before_command -s h -l help -d 'this text'
complete -c watchdog-shim -n __watchdog_shim_before_command -s V -l version -d 'the version'
# The first word keeps fish from taking the others for options of the function itself.
complete -c watchdog-shim -x -a '(__fish_complete_subcommand - --contain --require --watch --stop-signal --signal-to --stop-timeout --on-exit --session --status-fd --exit)'
