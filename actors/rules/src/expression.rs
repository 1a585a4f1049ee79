//! An expression from its text to what can be evaluated.
//!
//! Words, grammar, the parser of `cel`, the check; then each path to a fact is replaced by one
//! private character, its position in the schema, so that reading a fact takes no search. Needs no
//! large stack: brackets, choices and the depth of the tree are bounded before anything recurses,
//! and 256 KiB are enough.
//!
//! **Invariants:** an [`Expression`] that exists was checked. **Not here:** which faults make a
//! document bad (`lint`), facts' values (`evaluate`).

use cel::{
    common::ast::{Expr, IdedExpr},
    parser::{ParseErrors, Parser},
};

use crate::{
    check::{Checked, check, path},
    grammar::recognise,
    rule::KEY_BYTES_MAX,
    scan::{Fault, scan},
    schema,
    shape::Shape,
};

/// The first of the private characters that stand for facts; no name has one.
const FACT_CHARACTER: u32 = 0xE000;

/// What an expression must give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Condition,
    /// A text that tickets are compared by.
    Key,
}

/// A checked expression that can be evaluated.
#[derive(Debug)]
pub(crate) struct Expression {
    pub(crate) tree: IdedExpr,
    pub(crate) shape: Shape,
    pub(crate) cost: u64,
}

/// What became of a text.
pub(crate) struct Examined {
    /// None where there are faults.
    pub(crate) expression: Option<Expression>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) doubts: Vec<Fault>,
}

pub(crate) fn examine(text: &str, wanted: Wanted) -> Examined {
    let (mut tree, checked) = match parse(text) {
        Ok((tree, places)) => {
            let checked = check(&tree, &places);
            (tree, checked)
        }
        Err(fault) => return Examined { expression: None, faults: vec![fault], doubts: vec![] },
    };
    let Checked { shape, cost, mut faults, doubts } = checked;
    if let Some(text) = misfit(&shape, wanted) {
        faults.push(Fault { offset: 0, text });
    }
    if !faults.is_empty() {
        return Examined { expression: None, faults, doubts };
    }
    name_facts(&mut tree);
    Examined { expression: Some(Expression { tree, shape, cost }), faults, doubts }
}

fn misfit(shape: &Shape, wanted: Wanted) -> Option<String> {
    match (shape, wanted) {
        (Shape::Unknown, _)
        | (Shape::Bool { .. }, Wanted::Condition)
        | (Shape::Text { bytes_max: ..=KEY_BYTES_MAX, .. }, Wanted::Key) => None,
        (Shape::Text { bytes_max, .. }, Wanted::Key) => Some(format!(
            "a key of up to {bytes_max} bytes, more than {KEY_BYTES_MAX}; make it of shorter facts"
        )),
        (other, Wanted::Key) => {
            Some(format!("{} where a key should be; write string(…)", other.name()))
        }
        (other, Wanted::Condition) => {
            Some(format!("{} where a condition should be; compare it", other.name()))
        }
    }
}

fn parse(text: &str) -> Result<(IdedExpr, cel::common::ast::SourceInfo), Fault> {
    let tokens = scan(text)?;
    recognise(&tokens, text.trim_end().len())?;
    // There is nothing to recover from.
    let parser = Parser::new().error_recovery_limit(1);
    parser.parse_with_source_info(text).map_err(|errors| as_fault(text, &errors))
}

/// What only the parser knows: names of elements that are no names, escapes that are no characters.
fn as_fault(text: &str, errors: &ParseErrors) -> Fault {
    let Some(first) = errors.errors.first() else {
        return Fault { offset: 0, text: "this is no expression; write it anew".to_owned() };
    };
    let number = |position: isize| usize::try_from(position - 1).unwrap_or(0);
    let (line, column) = (number(first.pos.0), number(first.pos.1));
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let said = first.msg.lines().next().unwrap_or_default();
    Fault { offset: start + column, text: format!("{said}; correct it here") }
}

/// Replaces each path to a fact by its character.
fn name_facts(tree: &mut IdedExpr) {
    if let Some(index) = path(tree).and_then(|name| schema::position(&name)) {
        tree.expr = Expr::Ident(fact_name(index));
        return;
    }
    match &mut tree.expr {
        Expr::Call(call) => {
            call.target.as_deref_mut().into_iter().chain(&mut call.args).for_each(name_facts);
        }
        Expr::List(list) => list.elements.iter_mut().for_each(name_facts),
        Expr::Comprehension(loops) => {
            name_facts(&mut loops.iter_range);
            name_facts(&mut loops.loop_step);
        }
        Expr::Ident(_)
        | Expr::Literal(_)
        | Expr::Select(_)
        | Expr::Map(_)
        | Expr::Struct(_)
        | Expr::Unspecified => {}
    }
}

fn fact_name(index: usize) -> String {
    let code = u32::try_from(index).map_or(FACT_CHARACTER, |index| FACT_CHARACTER + index);
    char::from_u32(code).map(String::from).unwrap_or_default()
}

/// The position in the schema that a name stands for, if it is a fact.
pub(crate) fn fact_index(name: &str) -> Option<usize> {
    let code = u32::from(name.chars().next()?);
    usize::try_from(code.checked_sub(FACT_CHARACTER)?).ok()
}
