#compdef watchdog-shim
# zsh completions for watchdog-shim.
# Made by `cargo xtask man` from the table of the shim's options: edit that, not this file.

# What follows COMMAND is COMMAND's own.
_arguments -S -A '-*' \
@VALUES@
    '(-)1:command: _command_names -e' \
    '*::arguments: _normal'
