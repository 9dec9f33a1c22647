//! The completions of watchdog-shim, in the shells that they are for: somebody types the beginning
//! of a word and a tab.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use workspace_tests::Folder;
use workspace_tests::installed::installed;
use workspace_tests::terminal::Terminal;

const COMPLETIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../watchdog-shim/completions");
const BASH_COMPLETION: &str = "/usr/share/bash-completion/bash_completion";
const PROMPT: &str = "ready> ";

/// A program of the test's own, whose completions are `apple` and `--contrast`.
const FRUIT: &str = "fruitsalad";

/// A folder in which [`FRUIT`] is, and a search path that begins with it.
fn fruit() -> (Folder, String) {
    let folder = Folder::new();
    let program = folder.join(FRUIT);
    fs::write(&program, "#!/bin/sh\n").expect("write a program");
    let may_run = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&program, may_run).expect("chmod");
    let path = std::env::var("PATH").expect("a search path");
    let path = format!("{}:{path}", folder.path().display());
    (folder, path)
}

/// A shell on a terminal, told to be quiet and to know the completions.
fn shell(program: &str, args: &[&str], preparation: &[&str]) -> (Folder, Terminal) {
    let (folder, path) = fruit();
    let mut command = Command::new(program);
    command
        .args(args)
        .env("PATH", path)
        .env("PS1", PROMPT)
        .env_remove("PROMPT_COMMAND")
        .env("HOME", folder.path())
        .env("INPUTRC", "/dev/null")
        .current_dir(folder.path());
    let mut terminal = Terminal::start(&mut command);
    terminal.until(PROMPT);
    for line in preparation {
        terminal.type_until(&format!("{line}\n"), PROMPT);
    }
    (folder, terminal)
}

/// Types into bash, and waits for what a tab adds. bash finds COMMAND's own completions by
/// bash-completion alone.
fn bash(typed: &str, added: &str) {
    if !installed(&["bash"]) {
        return;
    }
    let of_command = typed.contains(&format!("{FRUIT} "));
    if of_command && !Path::new(BASH_COMPLETION).exists() {
        return eprintln!("skipped: bash-completion is not installed");
    }
    let own = format!("source '{COMPLETIONS}/watchdog-shim.bash'");
    let preparation = [
        "bind 'set enable-bracketed-paste off'",
        "complete -W 'apple --contrast' fruitsalad",
        &format!("[ ! -e {BASH_COMPLETION} ] || source {BASH_COMPLETION}"),
        &own,
    ];
    let (_folder, mut terminal) = shell("bash", &["--norc", "--noprofile", "-i"], &preparation);
    terminal.type_until(
        &format!("watchdog-shim {typed}\t"),
        &format!("{typed}{added}"),
    );
}

/// Types into zsh, and waits for what a tab adds.
fn zsh(typed: &str, added: &str) {
    if !installed(&["zsh"]) {
        return;
    }
    let own = format!("fpath=('{COMPLETIONS}' $fpath)");
    let preparation = [
        "unsetopt zle_bracketed_paste prompt_cr prompt_sp; unset zle_bracketed_paste",
        &own,
        "autoload -Uz compinit; compinit -D -u",
        "_fruitsalad() { compadd -- apple --contrast }; compdef _fruitsalad fruitsalad",
    ];
    let (_folder, mut terminal) = shell("zsh", &["-f", "-i"], &preparation);
    terminal.type_until(
        &format!("watchdog-shim {typed}\t"),
        &format!("{typed}{added}"),
    );
}

/// Asks fish what it would offer, which has to be one thing.
fn fish(typed: &str, added: &str) {
    if !installed(&["fish"]) {
        return;
    }
    let (folder, path) = fruit();
    let script = format!(
        "source '{COMPLETIONS}/watchdog-shim.fish'
        complete -c fruitsalad -f -a apple
        complete -c fruitsalad -l contrast
        complete -C 'watchdog-shim {typed}'"
    );
    let output = Command::new("fish")
        .args(["--no-config", "-c", &script])
        .env("PATH", path)
        .env("HOME", folder.path())
        .output()
        .expect("run fish");
    assert!(output.stderr.is_empty(), "{output:?}");
    let offered = String::from_utf8(output.stdout).expect("UTF-8");
    let offered: Vec<&str> = offered.lines().collect();
    let [offer] = offered[..] else {
        panic!("not one thing: {offered:?}");
    };
    let (_, last) = typed.rsplit_once(' ').unwrap_or(("", typed));
    let word = offer.split('\t').next().expect("a word");
    assert_eq!(word, format!("{last}{}", added.trim_end()));
}

macro_rules! in_each_shell {
    ($($(#[$attribute:meta])* $case:ident: $typed:literal, $added:literal;)*) => {
        mod bash {
            $($(#[$attribute])* #[test] fn $case() { super::bash($typed, $added); })*
        }
        mod zsh {
            $($(#[$attribute])* #[test] fn $case() { super::zsh($typed, $added); })*
        }
        mod fish {
            $($(#[$attribute])* #[test] fn $case() { super::fish($typed, $added); })*
        }
    };
}

in_each_shell! {
    name_of_an_option_is_completed: "--print", "-plan";
    value_behind_an_equals_sign_is_completed: "--contain=pi", "dns";
    value_that_is_the_next_word_is_completed: "--on-exit lea", "ve";
    option_behind_a_value_with_a_colon_is_completed: "--watch=fd:3 --print", "-plan";
    command_behind_a_double_dash_is_completed: "-- fruitsa", "lad";
    command_that_is_the_first_word_is_completed: "--exit shell fruitsa", "lad";
    command_behind_a_value_with_a_colon_is_completed: "--watch=fd:3 fruitsa", "lad";
    arguments_are_completed_by_commands_own_completions: "--exit=shell -- fruitsalad ap", "ple";
    options_behind_command_are_those_of_command: "fruitsalad --cont", "rast";
}
