# bash completions for watchdog-shim.
# Made by `cargo xtask man` from the table of the shim's options: edit that, not this file.

# The values that an option takes, or some of them.
_watchdog_shim_values() {
    case $1 in
@VALUES@
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
            @TAKING@)
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
            @TAKING@)
                mapfile -t COMPREPLY < <(compgen -W "$(_watchdog_shim_values "$option")" -- "$current")
                [[ ${COMPREPLY[*]} == *: ]] && compopt -o nospace
                ;;
            *)
                mapfile -t COMPREPLY < <(compgen -W '@NAMES@' -- "$current")
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
