//! `cargo xtask lint`: format, clippy, documentation, each feature alone, and the shape of the
//! dependency tree.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use xshell::{Shell, cmd};

use crate::shell;

/// The crates that are usable alone, and so depend on none of the others.
const LEAVES: [&str; 3] = ["watchdog-pipe", "fd-preserve", "pidfd-watcher"];
/// Those that stand on leaves, and not on each other.
const COMPOSITIONS: [&str; 2] = ["shim-spawner", "watchdog-shim"];
/// A leaf's whole normal tree, itself left out, stays below this.
const LEAF_LIMIT: usize = 6;

pub(crate) fn run() -> Result<()> {
    let shell = shell::shell()?;
    shell::run(cmd!(shell, "cargo fmt --all --check"))?;
    shell::run(cmd!(
        shell,
        "cargo clippy --workspace --all-targets --all-features -- -D warnings"
    ))?;
    let docs = cmd!(shell, "cargo doc --workspace --all-features --no-deps");
    shell::run(docs.env("RUSTDOCFLAGS", "-D warnings"))?;
    for package in LEAVES.iter().chain(&COMPOSITIONS) {
        check_features(&shell, package)?;
    }
    for leaf in LEAVES {
        check_tree(leaf, &tree(&shell, leaf)?)?;
    }
    for composition in COMPOSITIONS {
        check_composition(composition, &tree(&shell, composition)?)?;
    }
    Ok(())
}

/// Without its features, and with each of them alone: all together hides what one lacks.
fn check_features(shell: &Shell, package: &str) -> Result<()> {
    let manifest = shell.read_file(format!("{package}/Cargo.toml"))?;
    let mut sets = vec![Vec::new()];
    sets.extend(features(&manifest).map(|feature| vec!["--features", feature]));
    for set in sets {
        shell::run(cmd!(
            shell,
            "cargo clippy -p {package} --no-default-features {set...} -- -D warnings"
        ))?;
    }
    Ok(())
}

/// The names in the section `[features]` of a manifest.
fn features(manifest: &str) -> impl Iterator<Item = &str> {
    let lines = manifest.lines().skip_while(|line| *line != "[features]");
    let lines = lines.skip(1).take_while(|line| !line.starts_with('['));
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name.trim())
}

/// The names of the crates that `package` stands on, itself left out.
fn tree(shell: &Shell, package: &str) -> Result<BTreeSet<String>> {
    let format = "{p}";
    let tree = cmd!(
        shell,
        "cargo tree -p {package} -e normal --prefix none -f {format}"
    );
    let text = tree.quiet().read()?;
    let names = text.lines().filter_map(|line| line.split(' ').next());
    Ok(names
        .filter(|name| *name != package)
        .map(str::to_owned)
        .collect())
}

fn check_tree(package: &str, tree: &BTreeSet<String>) -> Result<()> {
    let names = || {
        tree.iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    };
    eprintln!("  {package} stands on {} crates: {}", tree.len(), names());
    if let Some(sibling) = LEAVES
        .iter()
        .chain(&COMPOSITIONS)
        .find(|name| tree.contains(**name))
    {
        bail!("{package} is a leaf and depends on {sibling}");
    }
    if tree.len() >= LEAF_LIMIT {
        bail!(
            "{package} stands on {} crates, {LEAF_LIMIT} are too many: {}",
            tree.len(),
            names()
        );
    }
    Ok(())
}

fn check_composition(package: &str, tree: &BTreeSet<String>) -> Result<()> {
    eprintln!("  {package} stands on {} crates", tree.len());
    if let Some(other) = COMPOSITIONS.iter().find(|name| tree.contains(**name)) {
        bail!("{package} depends on {other}: a runtime may need one without the other");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> BTreeSet<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn features_are_those_of_their_section() {
        let manifest = "[dependencies]\na = \"1\"\n\n[features]\n## What it adds.\nb = [\"dep:a\"]\n\
                        c = []\n\n[lints]\nworkspace = true\n";
        assert_eq!(features(manifest).collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(features("[package]\nname = \"a\"\n").count(), 0);
    }

    #[test]
    fn leaf_on_few_crates_passes() {
        check_tree("fd-preserve", &names(&["libc", "rustix", "bitflags"])).unwrap();
    }

    #[test]
    fn leaf_on_a_sibling_is_refused_by_name() {
        let error = check_tree("fd-preserve", &names(&["libc", "watchdog-pipe"])).unwrap_err();
        assert!(
            error.to_string().contains("depends on watchdog-pipe"),
            "{error}"
        );
    }

    #[test]
    fn leaf_on_a_composition_is_refused_by_name() {
        let error = check_tree("fd-preserve", &names(&["libc", "watchdog-shim"])).unwrap_err();
        assert!(
            error.to_string().contains("depends on watchdog-shim"),
            "{error}"
        );
    }

    #[test]
    fn composition_on_the_other_one_is_refused_by_name() {
        let tree = names(&["watchdog-pipe", "watchdog-shim"]);
        let error = check_composition("shim-spawner", &tree).unwrap_err();
        assert!(
            error.to_string().contains("depends on watchdog-shim"),
            "{error}"
        );
    }

    #[test]
    fn leaf_on_six_crates_is_refused() {
        let error = check_tree("fd-preserve", &names(&["a", "b", "c", "d", "e", "f"])).unwrap_err();
        assert!(error.to_string().contains("too many"), "{error}");
    }
}
