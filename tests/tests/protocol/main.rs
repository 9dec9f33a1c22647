//! docs/protocol.md, held to by programs that link nothing of this workspace: its examples, each of
//! them with watchdog-pipe on the other side, and with each other.

use workspace_tests::sources;

mod children;
mod foreign;
mod parents;

/// What stands between the two, each time that both are there.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Vec<&'a str> {
    let parts = text.split(before).skip(1);
    parts
        .filter_map(|part| part.split_once(after).map(|(found, _)| found))
        .collect()
}

#[test]
fn page_has_every_key_and_every_word_of_the_crate() {
    let page = sources::read("docs/protocol.md");
    let variable = sources::read("watchdog-pipe/src/variable.rs");
    let read = between(&variable, "match key {", "}").concat();
    let keys = between(&read, " \"", "\" =>");
    assert_eq!(keys, ["fd", "pipe", "sentinel", "stop", "clean"]);
    for key in keys {
        assert!(page.contains(&format!("| `{key}` |")), "{key}");
    }
    let words = sources::read("watchdog-pipe/src/word.rs");
    let words = between(&words, "=> b\"", "\",");
    assert_eq!(words.len(), 4, "{words:?}");
    for word in words {
        assert!(page.contains(&format!("| `{word}` |")), "{word}");
    }
    // The worked example is one that a unit test of the crate writes and reads.
    let example = between(&page, "    WATCHDOG_PIPE=", "\n").concat();
    assert!(variable.contains(&format!("\"{example}\"")), "{example}");
}
