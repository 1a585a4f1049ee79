//! Lists that are written out, and questions of their elements.
//!
//! The parser makes loops of `exists`, `exists_one` and `all`. The facts have no lists, so a loop
//! runs over what is written in the rule, and its cost is that of its body for each element.
//!
//! **Invariants:** a list has elements of one kind and is not in a list; a loop over anything else
//! is refused; no name of an element hides another name. **Not here:** functions (`calls`).

use cel::common::ast::{ComprehensionExpr, Expr, IdedExpr, ListExpr, LiteralValue, operators};

use super::Check;
use crate::{
    schema,
    shape::{self, Compare, Shape},
};

/// Elements of a list: a catalogue of categories, not a table of customers.
pub const LIST_MAX: usize = 200;

/// Steps for each element of a list that a question is asked of: a name is bound to it.
const ELEMENT_STEPS: usize = 20;

/// Which question a loop asks.
enum Question<'a> {
    Exists(&'a IdedExpr),
    ExistsOne(&'a IdedExpr),
    All(&'a IdedExpr),
    /// `map` and `filter`.
    Another,
}

/// The condition that the parser built into the loop.
fn question_of(loops: &ComprehensionExpr) -> Question<'_> {
    let Expr::Call(step) = &loops.loop_step.expr else {
        return Question::Another;
    };
    match (step.func_name.as_str(), step.args.as_slice()) {
        (operators::LOGICAL_OR, [_, condition]) => Question::Exists(condition),
        (operators::LOGICAL_AND, [_, condition]) => Question::All(condition),
        (operators::CONDITIONAL, [condition, _, _])
            if matches!(&loops.accu_init.expr, Expr::Literal(LiteralValue::Int(_))) =>
        {
            Question::ExistsOne(condition)
        }
        _ => Question::Another,
    }
}

impl<'a> Check<'a> {
    pub(super) fn list(&mut self, tree: &'a IdedExpr, list: &'a ListExpr) -> Shape {
        if list.elements.len() > LIST_MAX {
            let len = list.elements.len();
            return self.fault(
                tree,
                format!("a list of {len} elements, more than {LIST_MAX}; split the rule"),
            );
        }
        let mut element: Option<Shape> = None;
        for part in &list.elements {
            let shape = self.shape(part);
            let kind = shape.name();
            element = match (element, shape) {
                (_, Shape::Unknown) | (Some(Shape::Unknown), _) => Some(Shape::Unknown),
                (_, Shape::List { .. } | Shape::Bool { .. }) => {
                    Some(self.fault(part, format!("{kind} in a list; it holds numbers or texts")))
                }
                (None, shape) => Some(shape),
                (Some(before), shape) if before.same_kind(&shape) => Some(before.or(shape)),
                (Some(before), _) => {
                    let before = before.name();
                    Some(self.fault(part, format!("{kind} in a list that begins with {before}")))
                }
            };
        }
        match element {
            None => self.fault(tree, "an empty list; nothing is in it, so leave the rule out"),
            Some(Shape::Unknown) => Shape::Unknown,
            Some(element) => Shape::List { len: list.elements.len(), element: Box::new(element) },
        }
    }

    /// `one in list`
    pub(super) fn is_in(
        &mut self,
        tree: &'a IdedExpr,
        one: &'a IdedExpr,
        list: &'a IdedExpr,
    ) -> Shape {
        let (sought, list) = (self.shape(one), self.shape(list));
        match (sought, list) {
            (Shape::Unknown, _) | (_, Shape::Unknown) => Shape::Unknown,
            (sought, Shape::List { len, element }) if sought.same_kind(&element) => {
                let text = match &sought {
                    Shape::Text { bytes_max, .. } => bytes_max / super::BYTES_PER_STEP,
                    _ => 0,
                };
                self.spend(len * (1 + text));
                // Equal to one of them at most where it can be equal to what all of them are.
                let answer = match shape::compare(Compare::Equal, &sought, &element) {
                    Shape::Bool { may_hold: false, .. } => Shape::always(false),
                    _ => Shape::ANY_BOOL,
                };
                self.doubt_if_certain(tree, &answer, &[one]);
                answer
            }
            (sought, Shape::List { element, .. }) => {
                let (sought, element) = (sought.name(), element.name());
                self.fault(tree, format!("looks for {sought} in a list of which each is {element}"))
            }
            (_, other) => self.fault(
                tree,
                format!("`in` looks into a list `[…]`, not into {}; use contains", other.name()),
            ),
        }
    }

    pub(super) fn question(&mut self, tree: &'a IdedExpr, loops: &'a ComprehensionExpr) -> Shape {
        let list = self.shape(&loops.iter_range);
        let question = question_of(loops);
        let condition = match &question {
            Question::Exists(condition)
            | Question::ExistsOne(condition)
            | Question::All(condition) => *condition,
            Question::Another => {
                return self.fault(
                    tree,
                    "no function makes a list of a list; ask with exists, exists_one or all",
                );
            }
        };
        let name = loops.iter_var.as_str();
        let hides = self.elements.iter().any(|(element, _)| *element == name)
            || schema::position(name).is_some()
            || schema::is_group(name);
        if hides || loops.iter_var2.is_some() {
            return self.fault(tree, format!("`{name}` has a meaning already; use another name"));
        }
        let (len, element) = match list {
            Shape::List { len, element } => (len, *element),
            Shape::Unknown => return Shape::Unknown,
            other => {
                let other = other.name();
                return self.fault(tree, format!("asks for the elements of {other}; write a list"));
            }
        };
        self.elements.push((name, element));
        let before = self.cost;
        self.spend(ELEMENT_STEPS);
        let answer = self.condition(condition);
        let body = self.cost - before;
        self.cost = before.saturating_add(body.saturating_mul(len as u64));
        self.elements.pop();
        match (question, answer) {
            (_, Shape::Unknown) => Shape::Unknown,
            // With one answer for each element there is one for all of them.
            (Question::Exists(_) | Question::All(_), answer) => answer,
            (Question::ExistsOne(_), _) | (Question::Another, _) => Shape::ANY_BOOL,
        }
    }
}
