//! `cargo xtask lint`: format, clippy, documentation, and the shape of the dependency tree.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::{Outcome, cargo, no_arguments};

/// The crates that are usable alone, and so depend on none of the others.
const LEAVES: [&str; 3] = ["watchdog-pipe", "fd-preserve", "pidfd-watcher"];
/// Those that stand on leaves, and not on each other.
const COMPOSITIONS: [&str; 2] = ["shim-spawner", "watchdog-shim"];
/// A leaf's whole normal tree, itself left out, stays below this.
const LEAF_LIMIT: usize = 6;

pub(crate) fn run(args: &[OsString]) -> Outcome {
    no_arguments("lint", args)?;
    cargo::check(&mut cargo::cargo(["fmt", "--all", "--check"]))?;
    cargo::check(&mut cargo::cargo([
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--",
        "-D",
        "warnings",
    ]))?;
    cargo::check(
        cargo::cargo(["doc", "--workspace", "--all-features", "--no-deps"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    for leaf in LEAVES {
        check_tree(leaf, &tree(leaf)?)?;
    }
    for composition in COMPOSITIONS {
        check_composition(composition, &tree(composition)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The names of the crates that `package` stands on, itself left out.
fn tree(package: &str) -> Result<BTreeSet<String>> {
    let output = cargo::cargo([
        "tree", "-p", package, "-e", "normal", "--prefix", "none", "-f", "{p}",
    ])
    .output()
    .context("run cargo tree")?;
    if !output.status.success() {
        bail!(
            "cargo tree -p {package}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let text = String::from_utf8(output.stdout).context("cargo tree")?;
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
