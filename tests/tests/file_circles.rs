//! In each crate the files use each other in one direction: nobody has to know a circle of files at
//! once.
//!
//! A file uses another one if a path in its code leads there: `crate::name`, `super::name`, a
//! module that it declares, or a name that it has imported. A name that is passed on by `pub use`
//! belongs to the file that defines it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The crates that are looked at.
const CRATES: [&str; 6] = [
    "watchdog-pipe",
    "fd-preserve",
    "pidfd-watcher",
    "shim-spawner",
    "watchdog-shim",
    "tests",
];

/// A module by its path: `["sentinel", "slot"]`. The root has no name.
type Module = Vec<String>;

/// One file.
struct File {
    path: String,
    /// Its code in words and marks, without comments, texts and unit tests.
    tokens: Vec<String>,
    modules: BTreeSet<String>,
    /// Names that are imported or passed on, each with the path that leads to it.
    imports: BTreeMap<String, Vec<String>>,
}

type Crate = BTreeMap<Module, File>;

#[test]
fn no_file_of_a_crate_is_used_by_what_it_uses() {
    for name in CRATES {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
        let files = read_crate(&folder.join("src"));
        assert!(files.len() > 5, "{name} has {} files", files.len());
        let uses = uses(&files);
        assert!(uses.len() > 5, "{name}: {uses:?}");
        let circles = circles(&uses);
        assert!(circles.is_empty(), "{name}: {circles:#?}");
    }
}

#[test]
fn circle_is_found_whatever_way_the_paths_are_written() {
    let two = |first: &str, second: &str| {
        let root = "mod a; mod b; pub use a::A; pub use b::B;";
        let texts = [("", root), ("a", first), ("b", second)];
        let files = texts.map(|(name, text)| {
            let module = name.split_terminator("::").map(str::to_owned).collect();
            (module, file(&format!("{name}.rs"), text))
        });
        !circles(&uses(&files.into_iter().collect())).is_empty()
    };
    let [a, b] = ["pub struct A;", "pub struct B;"];
    assert!(!two(a, b));
    assert!(!two(&format!("use crate::b::B; {a}"), b));
    for there in [
        "use crate::b::B;",
        "use crate::B;",
        "use super::{b::B};",
        "fn f(_: crate::B) {}",
    ] {
        for back in [
            "use crate::a::A;",
            "use crate::{self as c, a}; fn f() { a::f() }",
        ] {
            assert!(
                two(&format!("{there} {a}"), &format!("{back} {b}")),
                "{there} {back}"
            );
        }
    }
    // What is said in comments, in texts and in unit tests uses nothing.
    for quiet in [
        "// crate::a::A\n",
        "fn f() { g(\"crate::a\") }",
        "#[cfg(test)] mod tests { use crate::A; }",
    ] {
        assert!(
            !two(&format!("use crate::B; {a}"), &format!("{b} {quiet}")),
            "{quiet}"
        );
    }
}

fn read_crate(folder: &Path) -> Crate {
    let mut files = Crate::new();
    read_module(folder, "lib.rs", Module::new(), &mut files);
    files
}

/// Reads a file and those of the modules that it declares.
fn read_module(folder: &Path, path: &str, module: Module, files: &mut Crate) {
    let text = fs::read_to_string(folder.join(path)).expect("read a source file");
    let read = file(path, &text);
    for name in &read.modules {
        let child: Module = module.iter().chain([name]).cloned().collect();
        read_module(folder, &format!("{}.rs", child.join("/")), child, files);
    }
    files.insert(module, read);
}

fn file(path: &str, text: &str) -> File {
    let tokens = without_tests(tokens(text));
    let (mut modules, mut named) = (BTreeSet::new(), Vec::new());
    for (at, token) in tokens.iter().enumerate() {
        let next = |step: usize| tokens.get(at + step).map_or("", String::as_str);
        if token == "mod" && next(2) == ";" {
            modules.insert(next(1).to_owned());
        }
        if token == "use" {
            let mut tree = tokens[at + 1..].iter().map(String::as_str).peekable();
            imports(&mut tree, &[], &mut named);
        }
    }
    File {
        path: path.to_owned(),
        tokens,
        modules,
        imports: named.into_iter().collect(),
    }
}

/// Words and marks; `::` is one mark.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if first == '"' {
            text_length(rest)
        } else if first == '\'' {
            character_length(rest)
        } else if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at(length);
        if is_word(first) || !(first.is_whitespace() || "/\"'".contains(first)) {
            tokens.push(token.to_owned());
        }
        rest = after;
    }
    tokens
}

fn text_length(text: &str) -> usize {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|&(_, c)| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

/// Of a character in quotes; of the mark alone, if it begins a lifetime.
fn character_length(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some(_)) => chars.find(|&(_, c)| c == '\'').map_or(1, |(at, _)| at + 1),
        (_, Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

/// Without what `#[cfg(test)]`, or a `cfg` that begins with `all(test`, is put before.
fn without_tests(tokens: Vec<String>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut rest = tokens.as_slice();
    while let Some(token) = rest.first() {
        let starts =
            |with: &[&str]| rest.iter().zip(with).filter(|(a, b)| a == b).count() == with.len();
        if starts(&["#", "[", "cfg", "(", "test"])
            || starts(&["#", "[", "cfg", "(", "all", "(", "test"])
        {
            rest = &rest[item_length(rest)..];
        } else {
            kept.push(token.clone());
            rest = &rest[1..];
        }
    }
    kept
}

/// Up to the semicolon or the block that ends an item.
fn item_length(tokens: &[String]) -> usize {
    let mut depth = 0;
    let end = tokens.iter().position(|token| {
        match token.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        depth == 0 && matches!(token.as_str(), "}" | ";")
    });
    end.map_or(tokens.len(), |end| end + 1)
}

/// The names that a `use` brings in, each with its path.
fn imports<'a>(
    tree: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
    before: &[String],
    found: &mut Vec<(String, Vec<String>)>,
) {
    let mut path = before.to_vec();
    while let Some(token) = tree.next() {
        match token {
            "::" => {}
            "{" => {
                while tree.peek().is_some_and(|next| *next != "}") {
                    imports(tree, &path, found);
                    tree.next_if_eq(&",");
                }
                tree.next();
                return;
            }
            "as" => {
                let name = tree.next().unwrap_or_default().to_owned();
                found.push((name, path));
                return;
            }
            // `crate::a::{self}` is `crate::a`.
            "self" if !path.is_empty() => {}
            word => path.push(word.to_owned()),
        }
        if tree
            .peek()
            .is_some_and(|next| matches!(*next, "," | "}" | ";"))
        {
            let name = path.last().cloned().unwrap_or_default();
            found.push((name, path));
            return;
        }
    }
}

/// Which files each file uses, by their paths.
fn uses(files: &Crate) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut uses = BTreeMap::new();
    for (module, file) in files {
        let used = paths(&file.tokens).into_iter().filter_map(|path| {
            let used = definer(files, module, &path, 0)?;
            (used != module).then(|| files[used].path.as_str())
        });
        uses.insert(file.path.as_str(), used.collect());
    }
    uses
}

/// The paths in a file's code, those of its `use` declarations included.
fn paths(tokens: &[String]) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at] == "use" {
            let mut tree = tokens[at + 1..].iter().map(String::as_str).peekable();
            let mut found = Vec::new();
            imports(&mut tree, &[], &mut found);
            paths.extend(found.into_iter().map(|(_, path)| path));
            at += item_length(&tokens[at..]);
            continue;
        }
        let is_word = |token: &String| token.starts_with(|c: char| c.is_alphabetic() || c == '_');
        let mut path = Vec::new();
        while tokens.get(at).is_some_and(is_word) {
            path.push(tokens[at].clone());
            at += 1;
            if tokens.get(at).is_none_or(|next| next != "::") {
                break;
            }
            at += 1;
        }
        if path.is_empty() {
            at += 1;
        } else {
            paths.push(path);
        }
    }
    paths
}

/// The module that defines what a path in `module` leads to. `None`: not of this crate, or a module
/// itself, which is not used before something in it is.
fn definer<'a>(
    files: &'a Crate,
    module: &[String],
    path: &[String],
    depth: usize,
) -> Option<&'a Module> {
    let (first, rest) = path.split_first()?;
    if depth > 20 {
        return None;
    }
    let within = |module: &[String]| {
        let (module, _) = files.get_key_value(module)?;
        definer_within(files, module, rest, depth)
    };
    match first.as_str() {
        "crate" => within(&[]),
        "self" => within(module),
        "super" => {
            let (_, parent) = module.split_last()?;
            match rest.first() {
                Some(next) if next == "super" => definer(files, parent, rest, depth + 1),
                _ => within(parent),
            }
        }
        name => {
            let (module, file) = files.get_key_value(module)?;
            let is_known = file.modules.contains(name) || file.imports.contains_key(name);
            is_known.then(|| definer_within(files, module, path, depth))?
        }
    }
}

/// The same for what follows the path of a module.
fn definer_within<'a>(
    files: &'a Crate,
    module: &'a Module,
    path: &[String],
    depth: usize,
) -> Option<&'a Module> {
    let (name, rest) = path.split_first()?;
    let File {
        modules, imports, ..
    } = &files[module];
    // A module and a function can have one name.
    if modules.contains(name) && !(rest.is_empty() && imports.contains_key(name)) {
        let child: Module = module.iter().chain([name]).cloned().collect();
        let (child, _) = files.get_key_value(&child)?;
        return definer_within(files, child, rest, depth);
    }
    match imports.get(name) {
        Some(import) => {
            let path: Vec<String> = import.iter().chain(rest).cloned().collect();
            definer(files, module, &path, depth + 1)
        }
        None => Some(module),
    }
}

/// Groups of files each of which is used by all others of the group, however indirectly.
fn circles<'a>(uses: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeSet<Vec<&'a str>> {
    let reached = |from: &'a str| {
        let mut reached = BTreeSet::new();
        let mut next = vec![from];
        while let Some(file) = next.pop() {
            next.extend(uses[file].iter().filter(|used| reached.insert(**used)));
        }
        reached
    };
    let all: BTreeMap<&str, BTreeSet<&str>> =
        uses.keys().map(|file| (*file, reached(file))).collect();
    let group = |file: &&'a str| -> Vec<&'a str> {
        let others = all[file].iter().copied();
        others.filter(|other| all[other].contains(file)).collect()
    };
    all.keys()
        .map(group)
        .filter(|group| !group.is_empty())
        .collect()
}
