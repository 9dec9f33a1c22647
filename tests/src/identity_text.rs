//! The text of a shim identity, written here a second time after its documentation, so that tests
//! can make identities which no process has.

/// An identity of these lines, each without its end, under a checksum that fits.
pub fn sealed(lines: &[&str]) -> String {
    let body: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
    format!("{body}checksum {:016x}\n", fnv1a(body.as_bytes()))
}

/// `text` with the value of `field` replaced, or the field left out, under a checksum that fits.
pub fn with_field(text: &str, field: &str, value: Option<&str>) -> String {
    let changed: Vec<String> = text
        .lines()
        .filter(|line| !line.starts_with("checksum "))
        .filter_map(|line| match line.split_once(' ') {
            Some((name, _)) if name == field => value.map(|value| format!("{field} {value}")),
            _ => Some(line.to_owned()),
        })
        .collect();
    sealed(&changed.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The value of `field`.
pub fn field<'a>(text: &'a str, field: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(' '))
}

/// The names of the files beside `name` that a writer of an identity may leave behind when it is
/// killed.
pub fn spares(name: &[u8]) -> Vec<String> {
    let hash = fnv1a(name);
    (0..16)
        .map(|number| format!(".shim-identity-{hash:016x}.{number:02}.tmp"))
        .collect()
}

/// FNV-1a, 64 bits, as its authors define it.
fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash: u64 = 14_695_981_039_346_656_037;
    for byte in bytes {
        hash ^= u64::from(*byte);
        hash = hash.wrapping_mul(1_099_511_628_211);
    }
    hash
}
