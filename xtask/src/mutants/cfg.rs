//! Which `cfg` attributes hold in the mutated copy.

use std::collections::HashSet;

use anyhow::Result;
use syn::punctuated::Punctuated;
use syn::{Attribute, Meta, Token};
use xshell::{Shell, cmd};

/// What the compiler says of the machine. All features are on; tests and loom are no code that a
/// test is to judge.
#[derive(Debug)]
pub(crate) struct Cfg(HashSet<String>);

impl Cfg {
    pub(crate) fn of_the_compiler(shell: &Shell) -> Result<Cfg> {
        let text = cmd!(shell, "rustc --print cfg").quiet().read()?;
        Ok(Cfg::of(text.lines()))
    }

    pub(crate) fn of<'a>(lines: impl IntoIterator<Item = &'a str>) -> Cfg {
        Cfg(lines.into_iter().map(str::to_owned).collect())
    }

    /// Whether what stands under these attributes is compiled, and is no test.
    pub(crate) fn allows(&self, attributes: &[Attribute]) -> bool {
        attributes.iter().all(|attribute| {
            let path = attribute.path();
            if path.is_ident("test") {
                return false;
            }
            !path.is_ident("cfg")
                || attribute
                    .parse_args::<Meta>()
                    .is_ok_and(|meta| self.holds(&meta))
        })
    }

    fn holds(&self, meta: &Meta) -> bool {
        match meta {
            Meta::Path(path) => {
                let word = path.get_ident().map(ToString::to_string);
                word.is_some_and(|word| word == "debug_assertions" || self.0.contains(&word))
            }
            Meta::NameValue(pair) => {
                let Some(name) = pair.path.get_ident() else {
                    return false;
                };
                let syn::Expr::Lit(syn::ExprLit {
                    lit: syn::Lit::Str(value),
                    ..
                }) = &pair.value
                else {
                    return false;
                };
                name == "feature" || self.0.contains(&format!("{name}=\"{}\"", value.value()))
            }
            Meta::List(list) => {
                let parser = Punctuated::<Meta, Token![,]>::parse_terminated;
                let Ok(parts) = list.parse_args_with(parser) else {
                    return false;
                };
                let mut parts = parts.iter();
                if list.path.is_ident("all") {
                    parts.all(|part| self.holds(part))
                } else if list.path.is_ident("any") {
                    parts.any(|part| self.holds(part))
                } else {
                    list.path.is_ident("not") && !parts.any(|part| self.holds(part))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(text: &str) -> bool {
        let cfg = Cfg::of(["unix", "target_os=\"linux\""]);
        let item: syn::ItemFn = syn::parse_str(&format!("{text} fn f() {{}}")).unwrap();
        cfg.allows(&item.attrs)
    }

    #[test]
    fn code_of_this_machine_is_allowed_and_tests_and_loom_are_not() {
        assert!(allows("#[cfg(all(unix, target_os = \"linux\"))]"));
        assert!(allows("#[cfg(feature = \"tokio\")]"));
        assert!(allows("#[cfg(not(loom))] #[inline]"));
        assert!(!allows("#[cfg(test)]"));
        assert!(!allows("#[test]"));
        assert!(!allows("#[cfg(any(loom, windows))]"));
    }
}
