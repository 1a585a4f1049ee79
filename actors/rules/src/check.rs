//! Checks the tree of an expression against the schema, and bounds what evaluating it can cost.
//!
//! Every node must be one that is listed here: an operator or a function on values of the right
//! kind, a fact of the schema, a list that is written out, a question of each of its elements. All
//! else is refused: numbers with fractions, because rules decide in whole numbers; maps, messages
//! and types, because the facts have none; regular expressions, because their cost cannot be told
//! from their length; and with those everything on which `cel` would panic (a node without content,
//! a field of a message within a map). The cost is counted in steps of about 25 ns.
//!
//! **Invariants:** recursion only to [`TREE_DEPTH_MAX`]; everything wrong is found, not only the
//! first; a tree without faults evaluates within its cost and fails only by dividing by zero or by
//! leaving 64 bits. **Not here:** words and brackets (`scan`, `grammar`), facts
//! (`check/names`), lists (`check/lists`), functions (`check/calls`).

mod calls;
mod lists;
mod names;

pub use lists::LIST_MAX;
pub(crate) use names::path;
use names::root;

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, SourceInfo, operators};

use crate::{
    scan::Fault,
    schema,
    shape::{self, Compare, Shape},
};

/// Nodes from the root of a tree to a leaf: `cel` recurses as deep when it evaluates.
pub const TREE_DEPTH_MAX: usize = 64;
/// Steps that one rule may take: 0.1 ms.
pub const RULE_COST_MAX: u64 = 4_000;
/// Bytes of a text that an expression makes: a ticket's text and as much again.
pub const MADE_TEXT_BYTES_MAX: usize = 2 * schema::TEXT_BYTES_MAX;
/// Bytes of text that are looked through in one step.
const BYTES_PER_STEP: usize = 64;

/// What a tree turned out to be.
pub(crate) struct Checked {
    pub(crate) shape: Shape,
    pub(crate) cost: u64,
    pub(crate) faults: Vec<Fault>,
    /// What is allowed and surely not meant.
    pub(crate) doubts: Vec<Fault>,
}

pub(crate) fn check(tree: &IdedExpr, places: &SourceInfo) -> Checked {
    let mut check = Check {
        places,
        elements: Vec::new(),
        depth: 0,
        cost: 0,
        faults: Vec::new(),
        doubts: Vec::new(),
    };
    let shape = check.shape(tree);
    Checked { shape, cost: check.cost, faults: check.faults, doubts: check.doubts }
}

struct Check<'a> {
    places: &'a SourceInfo,
    /// The names that stand for an element here, innermost last.
    elements: Vec<(&'a str, Shape)>,
    depth: usize,
    cost: u64,
    faults: Vec<Fault>,
    doubts: Vec<Fault>,
}

impl<'a> Check<'a> {
    fn offset(&self, tree: &IdedExpr) -> usize {
        let start = self.places.offset_for(root(tree).id).map_or(0, |(start, _)| start as usize);
        match self.places.source.get(..start) {
            // The parser places a call at its bracket.
            Some(before) if self.places.source[start..].starts_with('(') => {
                let named = before.trim_end();
                let name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                named.trim_end_matches(name).len()
            }
            _ => start,
        }
    }

    fn fault(&mut self, at: &IdedExpr, text: impl Into<String>) -> Shape {
        self.faults.push(Fault { offset: self.offset(at), text: text.into() });
        Shape::Unknown
    }

    fn spend(&mut self, steps: usize) {
        self.cost = self.cost.saturating_add(steps as u64);
    }

    /// Looking through a text.
    fn spend_on(&mut self, text: &Shape) {
        if let Shape::Text { bytes_max, .. } = text {
            self.spend(bytes_max / BYTES_PER_STEP);
        }
    }

    fn shape(&mut self, tree: &'a IdedExpr) -> Shape {
        self.spend(1);
        if self.depth == TREE_DEPTH_MAX {
            return self.fault(
                tree,
                format!(
                    "more than {TREE_DEPTH_MAX} operators within each other; use brackets, or \
                         make two rules of it"
                ),
            );
        }
        self.depth += 1;
        let shape = match &tree.expr {
            Expr::Literal(literal) => self.literal(tree, literal),
            Expr::Ident(name) => self.name(tree, name),
            Expr::Select(select) if select.test => {
                self.fault(tree, "every fact has a value; leave out `has`")
            }
            Expr::Select(_) => self.fact(tree),
            Expr::List(list) => self.list(tree, list),
            Expr::Comprehension(question) => self.question(tree, question),
            Expr::Call(call) => self.call(tree, call),
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
                self.fault(tree, "rules have neither maps nor messages; name a fact")
            }
        };
        self.depth -= 1;
        shape
    }

    fn literal(&mut self, tree: &IdedExpr, literal: &LiteralValue) -> Shape {
        match literal {
            LiteralValue::Int(number) => Shape::Int { low: **number, high: **number },
            LiteralValue::Boolean(answer) => Shape::always(*answer.inner()),
            LiteralValue::String(text) => {
                Shape::Text { bytes_max: text.inner().len(), known: Some(text.inner().to_owned()) }
            }
            LiteralValue::Bytes(_)
            | LiteralValue::Double(_)
            | LiteralValue::UInt(_)
            | LiteralValue::Null => {
                self.fault(tree, "rules have whole numbers, texts and conditions only")
            }
        }
    }

    fn call(&mut self, tree: &'a IdedExpr, call: &'a CallExpr) -> Shape {
        if call.func_name == operators::INDEX {
            return self.index(tree, call);
        }
        match (&call.target, call.args.as_slice()) {
            (None, [condition, one, other]) if call.func_name == operators::CONDITIONAL => {
                self.choice(condition, one, other)
            }
            (None, [one, other]) if is_operator(&call.func_name) => {
                self.binary(tree, &call.func_name, one, other)
            }
            (None, [one]) if is_operator(&call.func_name) => self.unary(tree, &call.func_name, one),
            _ => self.function(tree, call),
        }
    }

    fn index(&mut self, tree: &'a IdedExpr, call: &'a CallExpr) -> Shape {
        if path(tree).is_some() {
            return self.fact(tree);
        }
        for part in &call.args {
            self.shape(part);
        }
        self.fault(tree, "an element may not be there; ask with `in`, or with `exists`")
    }

    fn choice(&mut self, condition: &'a IdedExpr, one: &'a IdedExpr, other: &'a IdedExpr) -> Shape {
        let asked = self.condition(condition);
        let (first, second) = (self.shape(one), self.shape(other));
        if first == Shape::Unknown || second == Shape::Unknown {
            return Shape::Unknown;
        }
        if !first.same_kind(&second) {
            let (first, second) = (first.name(), second.name());
            return self.fault(
                other,
                format!("a choice of {first} or {second}; both must be of one kind"),
            );
        }
        match asked {
            Shape::Bool { may_fail: false, .. } => first,
            Shape::Bool { may_hold: false, .. } => second,
            _ => first.or(second),
        }
    }

    /// The shape of what must be a condition.
    fn condition(&mut self, tree: &'a IdedExpr) -> Shape {
        let shape = self.shape(tree);
        match shape {
            Shape::Bool { .. } | Shape::Unknown => shape,
            _ => self
                .fault(tree, format!("{} where a condition should be; compare it", shape.name())),
        }
    }

    fn unary(&mut self, tree: &'a IdedExpr, operator: &str, one: &'a IdedExpr) -> Shape {
        if operator == operators::LOGICAL_NOT {
            return match self.condition(one) {
                Shape::Bool { may_hold, may_fail } => {
                    Shape::Bool { may_hold: may_fail, may_fail: may_hold }
                }
                _ => Shape::Unknown,
            };
        }
        match self.shape(one) {
            Shape::Int { low, high } => {
                shape::arithmetic('-', (0, 0), (low, high)).unwrap_or(Shape::ANY_INT)
            }
            Shape::Unknown => Shape::Unknown,
            other => {
                self.fault(tree, format!("`-` before {}; it takes a whole number", other.name()))
            }
        }
    }

    fn binary(
        &mut self,
        tree: &'a IdedExpr,
        operator: &str,
        one: &'a IdedExpr,
        other: &'a IdedExpr,
    ) -> Shape {
        match operator {
            operators::LOGICAL_AND => match (self.condition(one), self.condition(other)) {
                (
                    Shape::Bool { may_hold, may_fail },
                    Shape::Bool { may_hold: holds, may_fail: fails },
                ) => Shape::Bool { may_hold: may_hold && holds, may_fail: may_fail || fails },
                _ => Shape::Unknown,
            },
            operators::LOGICAL_OR => match (self.condition(one), self.condition(other)) {
                (
                    Shape::Bool { may_hold, may_fail },
                    Shape::Bool { may_hold: holds, may_fail: fails },
                ) => Shape::Bool { may_hold: may_hold || holds, may_fail: may_fail && fails },
                _ => Shape::Unknown,
            },
            operators::IN => self.is_in(tree, one, other),
            _ => match comparison(operator) {
                Some(how) => self.comparison(tree, how, one, other),
                None => self.arithmetic(tree, operator, one, other),
            },
        }
    }

    fn comparison(
        &mut self,
        tree: &'a IdedExpr,
        how: Compare,
        one: &'a IdedExpr,
        other: &'a IdedExpr,
    ) -> Shape {
        let (first, second) = (self.shape(one), self.shape(other));
        self.spend_on(&first);
        if first == Shape::Unknown || second == Shape::Unknown {
            return Shape::Unknown;
        }
        if !first.same_kind(&second) {
            let (first, second) = (first.name(), second.name());
            return self.fault(
                tree,
                format!("{first} is compared with {second}; compare values of one kind"),
            );
        }
        let ordered = !matches!(how, Compare::Equal | Compare::NotEqual);
        match (&first, ordered) {
            (Shape::List { .. }, _) => {
                return self.fault(tree, "lists are not compared; ask with `in`, or with `exists`");
            }
            (Shape::Bool { .. }, true) => {
                return self.fault(tree, "conditions have no order; use && and ||");
            }
            _ => {}
        }
        let answer = shape::compare(how, &first, &second);
        self.doubt_if_certain(tree, &answer, &[one, other]);
        answer
    }

    /// A comparison of a fact that has one answer for every ticket is a mistake.
    fn doubt_if_certain(&mut self, tree: &IdedExpr, answer: &Shape, parts: &[&IdedExpr]) {
        let reads_fact = parts.iter().any(|part| path(part).is_some());
        let certain = match answer {
            Shape::Bool { may_hold: true, may_fail: false } => "always true",
            Shape::Bool { may_hold: false, may_fail: true } => "never true",
            _ => return,
        };
        if reads_fact {
            let text = format!("the comparison is {certain}; see which values the fact has");
            self.doubts.push(Fault { offset: self.offset(tree), text });
        }
    }

    fn arithmetic(
        &mut self,
        tree: &'a IdedExpr,
        operator: &str,
        one: &'a IdedExpr,
        other: &'a IdedExpr,
    ) -> Shape {
        let sign = operator.chars().nth(1).unwrap_or('?');
        let (first, second) = (self.shape(one), self.shape(other));
        match (first, second) {
            (Shape::Unknown, _) | (_, Shape::Unknown) => Shape::Unknown,
            (Shape::Int { low, high }, Shape::Int { low: l, high: h }) => {
                match shape::arithmetic(sign, (low, high), (l, h)) {
                    Some(shape) => shape,
                    None => self.fault(
                        tree,
                        format!("`{sign}` always fails here: it divides by zero or leaves 64 bits"),
                    ),
                }
            }
            (Shape::Text { bytes_max, known }, Shape::Text { bytes_max: bytes, known: end })
                if sign == '+' =>
            {
                let bytes_max = bytes_max + bytes;
                self.spend(bytes_max / BYTES_PER_STEP);
                if bytes_max > MADE_TEXT_BYTES_MAX {
                    return self.fault(
                        tree,
                        format!(
                            "a text of up to {bytes_max} bytes, more than {MADE_TEXT_BYTES_MAX}; \
                             put less together"
                        ),
                    );
                }
                let known = known.zip(end).map(|(known, end)| known + &end);
                Shape::Text { bytes_max, known }
            }
            (first, second) => {
                let (first, second) = (first.name(), second.name());
                self.fault(tree, format!("`{sign}` between {first} and {second}; it takes whole numbers, and `+` also two texts"))
            }
        }
    }
}

fn comparison(operator: &str) -> Option<Compare> {
    Some(match operator {
        operators::EQUALS => Compare::Equal,
        operators::NOT_EQUALS => Compare::NotEqual,
        operators::LESS => Compare::Less,
        operators::LESS_EQUALS => Compare::LessOrEqual,
        operators::GREATER => Compare::Greater,
        operators::GREATER_EQUALS => Compare::GreaterOrEqual,
        _ => return None,
    })
}

fn is_operator(name: &str) -> bool {
    comparison(name).is_some()
        || matches!(
            name,
            operators::LOGICAL_AND
                | operators::LOGICAL_OR
                | operators::LOGICAL_NOT
                | operators::NEGATE
                | operators::IN
                | operators::ADD
                | operators::SUBSTRACT
                | operators::MULTIPLY
                | operators::DIVIDE
                | operators::MODULO
        )
}
