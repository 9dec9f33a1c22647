//! One place of a source file, and what else could stand there.

use std::ops::Range;

/// A mutant: a point of the sources, and what stands there instead.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    /// What the programs know it by; from 1.
    pub(crate) number: u32,
    pub(crate) file: String,
    pub(crate) line: usize,
    /// The function that it is in, as `Type::name`.
    pub(crate) function: String,
    /// What is done to it, in words.
    pub(crate) what: String,
}

impl Point {
    pub(crate) fn package(&self) -> &str {
        self.file.split('/').next().unwrap_or_default()
    }
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Point {
            file,
            line,
            function,
            what,
            ..
        } = self;
        write!(f, "{file}:{line} {function}: {what}")
    }
}

/// How an alternative takes the place of what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// An expression: another one.
    Instead,
    /// The start of a function's body: it returns a value at once.
    Return,
    /// A statement: it is left out.
    Without,
    /// The end of an arm's pattern: the arm is left out.
    NoArm,
    /// The guard of an arm: it holds always, or never.
    Guard,
}

#[derive(Clone, Debug)]
pub(crate) struct Alternative {
    pub(crate) number: u32,
    pub(crate) text: String,
}

/// The bytes of a file, and the alternatives for them.
#[derive(Clone, Debug)]
pub(crate) struct Edit {
    pub(crate) form: Form,
    pub(crate) at: Range<usize>,
    pub(crate) alternatives: Vec<Alternative>,
}

impl Edit {
    /// What is written before and behind the bytes; in the first, where each alternative lies.
    pub(crate) fn around(&self) -> (String, Vec<(Range<usize>, u32)>, &'static str) {
        let mut before = String::new();
        let mut places = Vec::new();
        if self.form == Form::Instead {
            before.push('(');
        }
        for Alternative { number, text } in &self.alternatives {
            let start = before.len();
            let on = format!("::mutant_switch::on({number})");
            let asked = match self.form {
                Form::Instead => format!("if {on} {{ {text} }} else "),
                Form::Return if text.is_empty() => format!(" if {on} {{ return; }}"),
                Form::Return => format!(" if {on} {{ return {text}; }}"),
                Form::Without => format!("if !{on} {{ "),
                Form::NoArm => format!(" if !{on} "),
                Form::Guard if text == "true" => format!("{on} || "),
                Form::Guard => format!("!{on} && "),
            };
            before += &asked;
            places.push((start..before.len(), *number));
        }
        let behind = match self.form {
            Form::Instead => {
                before += "{ ";
                " })"
            }
            Form::Without => " }",
            Form::Return | Form::NoArm => "",
            Form::Guard => {
                before.push('(');
                ")"
            }
        };
        (before, places, behind)
    }
}
