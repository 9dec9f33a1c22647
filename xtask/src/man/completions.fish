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
            case @TAKING@
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
@VALUES@
# The first word keeps fish from taking the others for options of the function itself.
complete -c watchdog-shim -x -a '(__fish_complete_subcommand - @TAKING@)'
