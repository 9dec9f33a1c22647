//! Plausible values of a type, to be returned instead of what a function finds out.

use syn::{GenericArgument, PathArguments, ReturnType, Type, TypePath};

/// More than these of one function tell little.
const MOST: usize = 4;

/// What a body may be replaced with: empty for a function that does not return.
pub(crate) fn returned(output: &ReturnType, text: impl Fn(&Type) -> String) -> Vec<String> {
    match output {
        ReturnType::Default => vec![String::new()],
        ReturnType::Type(_, output) => {
            let mut values = of(output, &text);
            values.truncate(MOST);
            values
        }
    }
}

/// What a `Result` has, if it is one.
pub(crate) fn of_result(output: &Type) -> Option<&Type> {
    let Type::Path(path) = output else {
        return None;
    };
    let last = path.path.segments.last()?;
    if last.ident != "Result" {
        return None;
    }
    first_argument(&last.arguments)
}

fn first_argument(arguments: &PathArguments) -> Option<&Type> {
    let PathArguments::AngleBracketed(arguments) = arguments else {
        return None;
    };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(inner) => Some(inner),
        _ => None,
    })
}

fn of(output: &Type, text: &impl Fn(&Type) -> String) -> Vec<String> {
    match output {
        Type::Path(path) => of_path(path, text),
        Type::Reference(reference) => match (&*reference.elem, reference.mutability) {
            (Type::Path(path), None) if path.path.is_ident("str") => words(&["\"\"", "\"xyzzy\""]),
            (Type::Slice(_), None) => words(&["&[]"]),
            (inner, mutability) => of(inner, text)
                .into_iter()
                .map(|value| {
                    let mutable = if mutability.is_some() { "" } else { "&*" };
                    format!("{mutable}Box::leak(Box::new({value}))")
                })
                .collect(),
        },
        Type::Tuple(tuple) => tuple
            .elems
            .iter()
            .fold(vec!["(".to_owned()], |starts, part| {
                let values = of(part, text);
                starts
                    .iter()
                    .flat_map(|start| values.iter().map(move |value| format!("{start}{value}, ")))
                    .collect()
            })
            .into_iter()
            .map(|start| start + ")")
            .collect(),
        Type::Array(array) => {
            let whole = text(output);
            let length = whole.rsplit_once(';').map_or("0", |(_, length)| length);
            let length = length.trim_end_matches(']');
            of(&array.elem, text)
                .into_iter()
                .map(|value| format!("[{value}; {length}]"))
                .collect()
        }
        Type::Paren(inner) => of(&inner.elem, text),
        _ => Vec::new(),
    }
}

fn of_path(path: &TypePath, text: &impl Fn(&Type) -> String) -> Vec<String> {
    let Some(last) = path.path.segments.last() else {
        return Vec::new();
    };
    let wrapped = |with: &str| -> Vec<String> {
        let inner = first_argument(&last.arguments);
        let values = inner.map_or_else(|| words(&["Default::default()"]), |inner| of(inner, text));
        values
            .into_iter()
            .map(|value| format!("{with}({value})"))
            .collect()
    };
    match last.ident.to_string().as_str() {
        "bool" => words(&["true", "false"]),
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" | "c_uint" | "c_ulong" | "size_t" => {
            words(&["0", "1"])
        }
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" | "c_int" | "c_long" | "pid_t"
        | "RawFd" | "RawPid" => words(&["0", "1", "-1"]),
        "f32" | "f64" => words(&["0.0", "1.0"]),
        "String" => words(&["String::new()", "String::from(\"xyzzy\")"]),
        "Option" => [vec!["None".to_owned()], wrapped("Some")].concat(),
        "Result" => wrapped("Ok"),
        "Poll" => [
            vec!["std::task::Poll::Pending".to_owned()],
            wrapped("std::task::Poll::Ready"),
        ]
        .concat(),
        "Box" => wrapped("Box::new"),
        "Arc" => wrapped("std::sync::Arc::new"),
        "Vec" => words(&["Vec::new()"]),
        _ => words(&["Default::default()"]),
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(output: &str) -> Vec<String> {
        let output = syn::parse_str(output).unwrap();
        returned(&output, |_| "[u8; 4]".to_owned())
    }

    #[test]
    fn values_are_those_of_the_type_that_is_returned() {
        assert_eq!(values(""), [""]);
        assert_eq!(values("-> bool"), ["true", "false"]);
        assert_eq!(values("-> io::Result<()>"), ["Ok(())"]);
        assert_eq!(
            values("-> Option<bool>"),
            ["None", "Some(true)", "Some(false)"]
        );
        assert_eq!(values("-> (u8, &str)").len(), 4);
        assert_eq!(values("-> [u8; 4]"), ["[0;  4]", "[1;  4]"]);
        assert!(values("-> !").is_empty());
        assert!(values("-> impl Iterator<Item = u8>").is_empty());
    }
}
