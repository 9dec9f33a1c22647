# bash completions for watchdog-shim.
# Made by `cargo xtask man` from the table of the shim's options: edit that, not this file.

# The values that an option takes, or some of them.
_watchdog_shim_values() {
    case $1 in
        --contain) echo 'auto pidns cgroup subreaper none' ;;
        --require) echo 'good certain' ;;
        --watch) echo 'env fd: stdin parent parent:' ;;
        --stop-signal) echo 'TERM INT QUIT HUP USR1 USR2 KILL' ;;
        --signal-to) echo 'main group all' ;;
        --stop-timeout) echo '500ms 2s 10s 1m' ;;
        --on-exit) echo 'stop wait leave' ;;
        --session) echo 'keep new' ;;
        --status-fd) echo '1 2 3' ;;
        --exit) echo 'mirror shell' ;;
    esac
}

# Where COMMAND stands in COMP_WORDS, or nothing while the cursor is before it. bash makes words of their own of the `=`
# and the `:` in --watch=fd:3.
_watchdog_shim_command() {
    local i=1
    while ((i < COMP_CWORD)); do
        case ${COMP_WORDS[i]} in
            --)
                echo $((i + 1))
                return
                ;;
            --contain|--require|--watch|--stop-signal|--signal-to|--stop-timeout|--on-exit|--session|--status-fd|--exit)
                [[ ${COMP_WORDS[i + 1]} == = ]] && ((i++))
                ((i++))
                while ((i < COMP_CWORD)) && [[ ${COMP_WORDS[i + 1]} == : ]]; do
                    ((i += 2))
                done
                ;;
            -*) ;;
            *)
                echo "$i"
                return
                ;;
        esac
        ((i++))
    done
    # Not an option, and not the value of one.
    ((i == COMP_CWORD)) && [[ ${COMP_WORDS[i]} != -* ]] && echo "$i"
}

_watchdog_shim() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} option='' command
    COMPREPLY=()

    if [[ $current == = ]]; then
        option=$previous current=''
    elif [[ $previous == = ]]; then
        option=${COMP_WORDS[COMP_CWORD - 2]}
    else
        option=$previous
    fi
    command=$(_watchdog_shim_command)
    if [[ -z $command ]] || ((command > COMP_CWORD)); then
        case $option in
            --contain|--require|--watch|--stop-signal|--signal-to|--stop-timeout|--on-exit|--session|--status-fd|--exit)
                mapfile -t COMPREPLY < <(compgen -W "$(_watchdog_shim_values "$option")" -- "$current")
                [[ ${COMPREPLY[*]} == *: ]] && compopt -o nospace
                ;;
            *)
                mapfile -t COMPREPLY < <(compgen -W '--contain= --require= --watch= --stop-signal= --signal-to= --stop-timeout= --on-exit= --session= --status-fd= --exit= --print-plan -h --help -V --version' -- "$current")
                [[ ${COMPREPLY[*]} == *= ]] && compopt -o nospace
                ;;
        esac
        return
    fi

    # COMMAND's own completions, where bash-completion is there to find them.
    if declare -F _command_offset >/dev/null; then
        _command_offset "$command"
    elif ((command == COMP_CWORD)); then
        mapfile -t COMPREPLY < <(compgen -A command -- "$current")
    else
        compopt -o default
    fi
}

complete -F _watchdog_shim watchdog-shim
