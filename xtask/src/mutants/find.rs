//! Finds the points of a source file.

use std::collections::HashSet;
use std::ops::Range;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{
    Attribute, BinOp, Block, Expr, ImplItemFn, ItemFn, Pat, Signature, Stmt, TraitItemFn, UnOp,
};

use super::cfg::Cfg;
use super::edit::{Alternative, Edit, Form, Point};
use super::operators;
use super::values;

/// What a file has.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) points: Vec<Point>,
    pub(crate) edits: Vec<Edit>,
    /// The bodies of its functions.
    pub(crate) functions: Vec<Range<usize>>,
}

/// Finds the points of `file`, whose text is `text`; `constants` are the names of whole numbers.
/// Numbers go on from `next`.
pub(crate) fn points(
    file: &str,
    text: &str,
    cfg: &Cfg,
    constants: &HashSet<String>,
    next: u32,
) -> syn::Result<Found> {
    let mut finder = Finder {
        file,
        text,
        cfg,
        constants,
        next,
        scope: Vec::new(),
        found: Found::default(),
    };
    finder.visit_file(&syn::parse_file(text)?);
    Ok(finder.found)
}

struct Finder<'a> {
    file: &'a str,
    text: &'a str,
    cfg: &'a Cfg,
    constants: &'a HashSet<String>,
    next: u32,
    /// The names of the types and functions that are around.
    scope: Vec<String>,
    found: Found,
}

impl Finder<'_> {
    fn text_of(&self, node: &impl Spanned) -> &str {
        self.text.get(node.span().byte_range()).unwrap_or_default()
    }

    /// Adds an edit; an alternative is what it does, in words, and its text.
    fn edit(
        &mut self,
        form: Form,
        at: Range<usize>,
        line: usize,
        alternatives: Vec<(String, String)>,
    ) {
        let mut edit = Edit {
            form,
            at,
            alternatives: Vec::new(),
        };
        for (what, text) in alternatives {
            let number = self.next;
            self.next += 1;
            let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
            self.found.points.push(Point {
                number,
                file: self.file.to_owned(),
                line,
                function: self.scope.join("::"),
                what,
            });
            edit.alternatives.push(Alternative { number, text });
        }
        if !edit.alternatives.is_empty() {
            self.found.edits.push(edit);
        }
    }

    fn function(&mut self, attributes: &[Attribute], signature: &Signature, block: &Block) {
        // A constant function may run in the compiler, which knows of no mutant.
        if !self.cfg.allows(attributes) || signature.constness.is_some() {
            return;
        }
        self.scope.push(signature.ident.to_string());
        self.found.functions.push(block.span().byte_range());
        self.body(signature, block);
        self.visit_block(block);
        self.scope.pop();
    }

    fn body(&mut self, signature: &Signature, block: &Block) {
        let mut values = values::returned(&signature.output, |of| self.text_of(of).to_owned());
        if let (syn::ReturnType::Type(_, output), Some(receiver)) =
            (&signature.output, signature.receiver())
        {
            // A builder: it changes nothing.
            let is_same = |output: &syn::Type| match output {
                syn::Type::Reference(output) => {
                    receiver.reference.is_some() && is_self(&output.elem)
                }
                output => receiver.reference.is_none() && is_self(output),
            };
            if is_same(output) {
                values = vec!["self".to_owned()];
            } else if values::of_result(output).is_some_and(is_same) {
                values = vec!["Ok(self)".to_owned()];
            }
        }
        let inside = block.span().byte_range();
        let written = self
            .text
            .get(inside.start + 1..inside.end.saturating_sub(1));
        let written = written.unwrap_or_default().trim();
        // Left out, a lone statement leaves nothing either.
        let is_lone = matches!(&block.stmts[..], [Stmt::Expr(only, Some(_))] if is_effect(only));
        let alternatives = values
            .into_iter()
            .filter(|value| value != written && !(value.is_empty() && is_lone))
            .map(|value| {
                let shown = if value.is_empty() { "()" } else { &value };
                (format!("returns {shown} at once"), value)
            })
            .collect();
        let line = signature.ident.span().start().line;
        let at = inside.start + 1;
        self.edit(Form::Return, at..at, line, alternatives);
    }

    /// A whole number as an operand or a bound: the next one.
    fn next_number(&mut self, operand: &Expr) {
        let text = self.text_of(operand).to_owned();
        let next = match operand {
            Expr::Lit(literal) => match &literal.lit {
                syn::Lit::Int(number) => match number.base10_parse::<u128>() {
                    Ok(value) => format!("{}{}", value + 1, number.suffix()),
                    Err(_) => return,
                },
                _ => return,
            },
            Expr::Path(path) => {
                let last = path.path.segments.last().map(|part| part.ident.to_string());
                if !last.is_some_and(|last| self.constants.contains(&last)) {
                    return;
                }
                format!("{text} + 1")
            }
            _ => return,
        };
        let what = format!("{next} instead of {text}");
        let (at, line) = place(operand);
        self.edit(Form::Instead, at, line, vec![(what, next)]);
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.function(&item.attrs, &item.sig, &item.block);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.function(&item.attrs, &item.sig, &item.block);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        if let Some(block) = &item.default {
            self.function(&item.attrs, &item.sig, block);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if self.cfg.allows(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if !self.cfg.allows(&item.attrs) {
            return;
        }
        let name = self.text_of(&item.self_ty);
        let name = name.split('<').next().unwrap_or(name).trim().to_owned();
        self.scope.push(name);
        visit::visit_item_impl(self, item);
        self.scope.pop();
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        if self.cfg.allows(&item.attrs) {
            self.scope.push(item.ident.to_string());
            visit::visit_item_trait(self, item);
            self.scope.pop();
        }
    }

    // What the compiler works out, and what only describes, has no points.
    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}
    fn visit_item_static(&mut self, _: &'ast syn::ItemStatic) {}
    fn visit_item_enum(&mut self, _: &'ast syn::ItemEnum) {}
    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}
    fn visit_trait_item_const(&mut self, _: &'ast syn::TraitItemConst) {}
    fn visit_expr_const(&mut self, _: &'ast syn::ExprConst) {}
    fn visit_type(&mut self, _: &'ast syn::Type) {}
    fn visit_generic_argument(&mut self, _: &'ast syn::GenericArgument) {}
    fn visit_pat(&mut self, _: &'ast Pat) {}
    fn visit_attribute(&mut self, _: &'ast Attribute) {}

    fn visit_expr_repeat(&mut self, repeat: &'ast syn::ExprRepeat) {
        self.visit_expr(&repeat.expr);
    }

    fn visit_stmt(&mut self, statement: &'ast Stmt) {
        let effect = match statement {
            Stmt::Expr(expr, Some(_)) => is_effect(expr),
            Stmt::Local(local) => {
                let init = local.init.as_ref();
                matches!(local.pat, Pat::Wild(_))
                    && local.attrs.is_empty()
                    && init.is_some_and(|init| init.diverge.is_none())
            }
            _ => false,
        };
        if effect {
            let (at, line) = place(statement);
            let what = format!("without `{}`", self.text_of(statement));
            self.edit(Form::Without, at, line, vec![(what, String::new())]);
        }
        visit::visit_stmt(self, statement);
    }

    fn visit_expr(&mut self, expr: &'ast Expr) {
        if !self.cfg.allows(attributes(expr)) {
            return;
        }
        let (at, line) = place(expr);
        match expr {
            Expr::Binary(binary) if !has_let(expr) => {
                let operator = self.text_of(&binary.op).to_owned();
                let (left, right) = (self.text_of(&binary.left), self.text_of(&binary.right));
                let alternatives = operators::instead_of(&binary.op)
                    .iter()
                    .map(|other| {
                        let here = format!("{left} {operator} {right}");
                        let what = format!("{other} instead of {operator} in `{here}`");
                        (what, format!("({left}) {other} ({right})"))
                    })
                    .collect();
                self.edit(Form::Instead, at, line, alternatives);
                if !matches!(binary.op, BinOp::And(_) | BinOp::Or(_)) {
                    self.next_number(&binary.left);
                    self.next_number(&binary.right);
                }
            }
            Expr::Unary(unary) if matches!(unary.op, UnOp::Not(_) | UnOp::Neg(_)) => {
                let inner = self.text_of(&unary.expr).to_owned();
                let what = format!("`{inner}` instead of `{}`", self.text_of(expr));
                self.edit(Form::Instead, at, line, vec![(what, inner)]);
            }
            Expr::Range(range) => {
                for bound in [&range.start, &range.end].into_iter().flatten() {
                    self.next_number(bound);
                }
            }
            Expr::Match(all) => self.arms(&all.arms),
            _ => {}
        }
        visit::visit_expr(self, expr);
    }
}

impl Finder<'_> {
    fn arms(&mut self, arms: &[syn::Arm]) {
        for (index, arm) in arms.iter().enumerate() {
            if !self.cfg.allows(&arm.attrs) {
                continue;
            }
            let line = arm.pat.span().start().line;
            let pattern = self.text_of(&arm.pat).to_owned();
            if let Some((_, guard)) = &arm.guard {
                let (at, line) = place(&**guard);
                let guard = self.text_of(&**guard).to_owned();
                let alternative = |value: &str| {
                    let what = format!("{value} instead of the guard `{guard}`");
                    (what, value.to_owned())
                };
                let alternatives = vec![alternative("true"), alternative("false")];
                self.edit(Form::Guard, at, line, alternatives);
                continue;
            }
            let Some(rest) = arms[index + 1..].iter().find(|arm| catches_all(arm)) else {
                continue;
            };
            if self.text_of(&*rest.body) == self.text_of(&*arm.body) {
                continue;
            }
            let at = arm.pat.span().byte_range().end;
            let what = format!("without the arm `{pattern}`");
            self.edit(Form::NoArm, at..at, line, vec![(what, String::new())]);
        }
    }
}

fn place(node: &impl Spanned) -> (Range<usize>, usize) {
    let span = node.span();
    (span.byte_range(), span.start().line)
}

fn is_self(of: &syn::Type) -> bool {
    matches!(of, syn::Type::Path(path) if path.path.is_ident("Self"))
}

fn catches_all(arm: &syn::Arm) -> bool {
    let is_name = |name: &syn::PatIdent| {
        name.subpat.is_none() && name.ident.to_string().starts_with(char::is_lowercase)
    };
    let pattern = match &arm.pat {
        Pat::Wild(_) => true,
        Pat::Ident(name) => is_name(name),
        _ => false,
    };
    pattern && arm.guard.is_none()
}

/// Whether the statement is there for what it does, not for a value.
fn is_effect(expr: &Expr) -> bool {
    if !attributes(expr).is_empty() {
        return false;
    }
    match expr {
        // What has a name is dropped at the end of its scope at the latest.
        Expr::Call(call) if is_drop(call) => false,
        Expr::Call(_)
        | Expr::MethodCall(_)
        | Expr::Assign(_)
        | Expr::Try(_)
        | Expr::Await(_)
        | Expr::Unsafe(_) => true,
        Expr::Binary(binary) => operators::is_assignment(&binary.op),
        _ => false,
    }
}

fn is_drop(call: &syn::ExprCall) -> bool {
    let mut arguments = call.args.iter();
    matches!(&*call.func, Expr::Path(function) if function.path.is_ident("drop"))
        && arguments.all(|argument| matches!(argument, Expr::Path(_)))
}

/// Whether the expression is a chain of conditions with a `let` in it.
fn has_let(expr: &Expr) -> bool {
    match expr {
        Expr::Let(_) => true,
        Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

fn attributes(expr: &Expr) -> &[Attribute] {
    match expr {
        Expr::Block(e) => &e.attrs,
        Expr::Call(e) => &e.attrs,
        Expr::MethodCall(e) => &e.attrs,
        Expr::Unsafe(e) => &e.attrs,
        Expr::If(e) => &e.attrs,
        Expr::Match(e) => &e.attrs,
        Expr::Assign(e) => &e.attrs,
        Expr::Binary(e) => &e.attrs,
        Expr::Try(e) => &e.attrs,
        _ => &[],
    }
}

/// The names of the constants in the text that are whole numbers.
pub(crate) fn constants(text: &str) -> syn::Result<Vec<String>> {
    #[derive(Default)]
    struct Names(Vec<String>);

    impl Names {
        fn see(&mut self, name: &syn::Ident, of: &syn::Type) {
            let syn::Type::Path(path) = of else { return };
            let last = path.path.segments.last().map(|part| part.ident.to_string());
            if last.is_some_and(|last| INTEGERS.contains(&last.as_str())) {
                self.0.push(name.to_string());
            }
        }
    }

    impl<'ast> Visit<'ast> for Names {
        fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
            self.see(&item.ident, &item.ty);
        }

        fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
            self.see(&item.ident, &item.ty);
        }
    }

    let mut names = Names::default();
    names.visit_file(&syn::parse_file(text)?);
    Ok(names.0)
}

const INTEGERS: [&str; 15] = [
    "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "isize", "RawFd",
    "c_int", "c_uint", "c_long",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// What is done in the text, in words.
    fn found(text: &str) -> Vec<String> {
        let cfg = Cfg::of([]);
        let constants = constants(text).unwrap().into_iter().collect();
        let found = points("f.rs", text, &cfg, &constants, 1).unwrap();
        found.points.into_iter().map(|point| point.what).collect()
    }

    #[test]
    fn operator_and_operands_have_a_point_each() {
        assert_eq!(
            found("const MOST: u8 = 3; fn f(a: u8) -> Type { a < MOST }"),
            [
                "returns Default::default() at once",
                "<= instead of < in `a < MOST`",
                ">= instead of < in `a < MOST`",
                "MOST + 1 instead of MOST",
            ]
        );
    }

    #[test]
    fn arm_has_a_point_where_another_takes_its_value() {
        let text = "fn f(a: T) -> ! { match a { A => x(), B if g => y(), C => z(), _ => z() } }";
        assert_eq!(
            found(text),
            [
                "without the arm `A`",
                "true instead of the guard `g`",
                "false instead of the guard `g`",
            ]
        );
    }

    #[test]
    fn builder_that_changes_nothing_is_a_mutant() {
        let text =
            "impl B { fn set(&mut self, to: u8) -> Result<&mut Self> { self.a = to; Ok(self) } }";
        assert_eq!(
            found(text),
            ["returns Ok(self) at once", "without `self.a = to;`"]
        );
    }

    #[test]
    fn test_and_constant_function_and_what_is_of_another_machine_have_none() {
        assert!(found("#[test] fn f() -> bool { g(1 + 1) }").is_empty());
        assert!(found("#[cfg(windows)] mod m { fn f() -> bool { true } }").is_empty());
        assert!(found("const fn f() -> bool { 1 < 2 }").is_empty());
        assert!(found("const N: u8 = 1 + 1; static A: [u8; 1 + 1] = [0; 1 + 1];").is_empty());
    }

    #[test]
    fn condition_with_a_let_is_left_whole() {
        let text = "fn f() -> ! { if let Some(a) = b && c { d } }";
        assert!(found(text).is_empty());
    }
}
