//! Names: of facts, of groups of facts, of the element that a question is about.
//!
//! **Invariants:** an unknown name is a fault where it begins, with the nearest known one. **Not
//! here:** functions (`calls`).

use cel::common::ast::{Expr, IdedExpr, LiteralValue, operators};

use super::Check;
use crate::{
    nearest::meant,
    schema::{self, FACTS, Values},
    shape::Shape,
};

/// The name that a path of fields spells: `ticket.text` and `ticket["text"]` alike.
pub(crate) fn path(tree: &IdedExpr) -> Option<String> {
    match &tree.expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) if !select.test => {
            Some(format!("{}.{}", path(&select.operand)?, select.field))
        }
        Expr::Call(call) if call.func_name == operators::INDEX => {
            let [of, index] = call.args.as_slice() else {
                return None;
            };
            let Expr::Literal(LiteralValue::String(field)) = &index.expr else {
                return None;
            };
            Some(format!("{}.{}", path(of)?, field.inner()))
        }
        _ => None,
    }
}

/// The node at the left end of a path: where it begins in the text.
pub(super) fn root(mut tree: &IdedExpr) -> &IdedExpr {
    loop {
        tree = match &tree.expr {
            Expr::Select(select) => &select.operand,
            Expr::Call(call) if call.func_name == operators::INDEX && !call.args.is_empty() => {
                &call.args[0]
            }
            _ => return tree,
        };
    }
}

impl<'a> Check<'a> {
    pub(super) fn name(&mut self, tree: &'a IdedExpr, name: &str) -> Shape {
        // Looked for in every question around it.
        self.spend(2 * self.elements.len());
        match self.elements.iter().rev().find(|(element, _)| *element == name) {
            Some((_, shape)) => shape.clone(),
            None => self.fact(tree),
        }
    }

    pub(super) fn fact(&mut self, tree: &'a IdedExpr) -> Shape {
        self.spend(2 * self.elements.len());
        let Some(name) = path(tree) else {
            return self.fault(tree, "only facts have fields; name one, as in `ticket.category`");
        };
        let at = root(tree);
        if matches!(&at.expr, Expr::Ident(first) if self.elements.iter().any(|(e, _)| e == first)) {
            return self.fault(at, format!("`{name}`: the elements of a list have no fields"));
        }
        if let Some(fact) = schema::position(&name).and_then(|index| FACTS.get(index)) {
            return match fact.values {
                Values::Int { min, max } => Shape::Int { low: min, high: max },
                Values::Text { bytes_max } => Shape::Text { bytes_max, known: None },
            };
        }
        let names = FACTS.iter().map(|fact| fact.name);
        if schema::is_group(&name) {
            let within: Vec<&str> =
                names.filter(|one| one.starts_with(&format!("{name}."))).collect();
            return self.fault(
                at,
                format!("`{name}` is a group of facts; name one: {}", within.join(", ")),
            );
        }
        let meant = meant(&name, names);
        self.fault(at, format!("there is no fact `{name}`{meant}"))
    }
}
