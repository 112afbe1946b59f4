//! What a `when` expression comes to for one change. Knows no rules and no shadow: rows are given.
//!
//! NULL is none: equal to itself only, neither less nor greater than anything, and arithmetic with it gives none, so that
//! rows with NULLs do not match instead of failing. Error texts name kinds and columns, never values.
use crate::domain::{Cell, Image, Operation, Table};
use crate::mapping::rows::cell;
use crate::mapping::when::decimal::Math;
use crate::mapping::when::expression::{Comparison, Literal, Node, Side, Test};
use crate::mapping::when::value::{
    Stop, Value, equal, failed, filtered, from_cell, from_json, item, order, undefined,
};
use serde_json::Value as Json;
use std::borrow::Cow;
use std::cmp::Ordering;

/// Nodes evaluated plus kilobytes of text and hundreds of list items looked at: more than any sensible expression.
const FUEL: u32 = 20_000;

/// What a condition looks at.
#[derive(Debug, Clone, Copy)]
pub(in crate::mapping) struct Scene<'a> {
    /// The table.
    pub(in crate::mapping) table: &'a Table,
    /// `schema.table`
    pub(in crate::mapping) table_name: &'a str,
    /// The operation.
    pub(in crate::mapping) op: Operation,
    /// The old row as far as it is known (`NotSent`: it is not); `None`: there is none.
    pub(in crate::mapping) old: Option<&'a Image>,
    /// The new row, likewise.
    pub(in crate::mapping) new: Option<&'a Image>,
}

/// Does the expression hold?
pub(in crate::mapping) fn holds(root: &Node, scene: Scene<'_>) -> Result<bool, Stop> {
    let mut run = Run { scene, fuel: FUEL };
    let value = run.eval(root)?;
    value.is_true()
}

struct Run<'a> {
    scene: Scene<'a>,
    fuel: u32,
}

impl<'a> Run<'a> {
    fn burn(&mut self, units: usize) -> Result<(), Stop> {
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        self.fuel = self.fuel.checked_sub(units).ok_or_else(|| failed("the expression runs too long"))?;
        Ok(())
    }

    fn eval(&mut self, node: &'a Node) -> Result<Value<'a>, Stop> {
        self.burn(1)?;
        Ok(match node {
            Node::Literal(literal) => match literal {
                Literal::None => Value::None,
                Literal::Bool(truth) => Value::Bool(*truth),
                Literal::Number(number) => Value::Number(Cow::Borrowed(number)),
                Literal::Text(text) => Value::Text(Cow::Borrowed(text)),
            },
            Node::Column(side, name) => self.column(*side, name)?,
            Node::Row(side) => match self.row(*side) {
                Some(_) => Value::Row,
                None => Value::None,
            },
            Node::Op => Value::Text(Cow::Borrowed(self.scene.op.as_str())),
            Node::Table => Value::Text(Cow::Borrowed(self.scene.table_name)),
            Node::List(items) => {
                Value::List(items.iter().map(|item| self.eval(item)).collect::<Result<_, _>>()?)
            }
            Node::Item(pair) => item(self.eval(&pair.0)?, &self.eval(&pair.1)?)?,
            Node::Not(of) => Value::Bool(!self.truth(of)?),
            Node::Neg(of) => match self.eval(of)? {
                Value::None => Value::None,
                Value::Number(number) => Value::Number(Cow::Owned(number.negated())),
                other => return Err(failed(&format!("'-' before {}", other.kind()))),
            },
            // as in minijinja, the operand that decides: `(new.amount or 0) > 5`
            Node::And(pair) => {
                let left = self.eval(&pair.0)?;
                if left.is_true()? { self.eval(&pair.1)? } else { left }
            }
            Node::Or(pair) => {
                let left = self.eval(&pair.0)?;
                if left.is_true()? { left } else { self.eval(&pair.1)? }
            }
            Node::Math(op, pair) => {
                let (left, right) = (self.eval(&pair.0)?, self.eval(&pair.1)?);
                self.math(*op, left, right)?
            }
            Node::Concat(pair) => {
                let joined = self.eval(&pair.0)?.text()?.into_owned() + &self.eval(&pair.1)?.text()?;
                self.burn(joined.len() / 1024)?;
                Value::Text(Cow::Owned(joined))
            }
            Node::Compare(first, rest) => Value::Bool(self.chain(first, rest)?),
            Node::If(parts) => {
                let branch = if self.truth(&parts.0)? { &parts.1 } else { &parts.2 };
                self.eval(branch)?
            }
            Node::Filter(filter, of, args) => {
                let value = self.eval(of)?;
                let arg = args.first().map(|arg| self.eval(arg)).transpose()?;
                filtered(*filter, value, arg)?
            }
            Node::Test(test, of, args) => {
                let value = self.eval(of)?;
                let arg = args.first().map(|arg| self.eval(arg)).transpose()?;
                Value::Bool(self.test(*test, &value, arg.as_ref())?)
            }
        })
    }

    fn row(&self, side: Side) -> Option<&'a Image> {
        match side {
            Side::Old => self.scene.old,
            Side::New => self.scene.new,
        }
    }

    fn column(&mut self, side: Side, name: &str) -> Result<Value<'a>, Stop> {
        let Some(row) = self.row(side) else { return Ok(Value::None) };
        let table = self.scene.table;
        let at = table.position(name);
        let cell = at.and_then(|at| row.get(at));
        // numeric's NaN and infinities are JSON strings
        let numeric = at.and_then(|at| table.columns.get(at)).is_some_and(|c| cell::is_numeric(&c.kind));
        let side = if side == Side::Old { "old" } else { "new" };
        match cell {
            None => Err(Stop::Failed(format!("{} has no column {name}", self.scene.table_name))),
            Some(Cell::Null) => Ok(Value::None),
            Some(Cell::NotSent) => Err(Stop::Unknown(format!("{side}.{name}"))),
            Some(Cell::Json(json)) => {
                self.burn(json.len() / 1024)?;
                from_cell(json, numeric).ok_or_else(|| Stop::Failed(format!("{side}.{name} cannot be read")))
            }
        }
    }

    fn truth(&mut self, node: &'a Node) -> Result<bool, Stop> {
        let value = self.eval(node)?;
        value.is_true()
    }

    fn math(&mut self, op: Math, left: Value<'a>, right: Value<'a>) -> Result<Value<'a>, Stop> {
        match (left, right) {
            (Value::Undefined, _) | (_, Value::Undefined) => Err(undefined()),
            (Value::None, _) | (_, Value::None) => Ok(Value::None),
            (Value::Number(a), Value::Number(b)) => {
                self.burn(10)?;
                a.math(op, &b).map(|n| Value::Number(Cow::Owned(n))).map_err(failed)
            }
            (Value::Text(a), Value::Text(b)) if op == Math::Add => {
                self.burn((a.len() + b.len()) / 1024)?;
                Ok(Value::Text(Cow::Owned(a.into_owned() + &b)))
            }
            (a, b) => Err(failed(&format!("arithmetic with {} and {}", a.kind(), b.kind()))),
        }
    }

    fn chain(&mut self, first: &'a Node, rest: &'a [(Comparison, Node)]) -> Result<bool, Stop> {
        let mut left = self.eval(first)?;
        for (op, node) in rest {
            let right = self.eval(node)?;
            if !self.compare(*op, &left, &right)? {
                return Ok(false);
            }
            left = right;
        }
        Ok(true)
    }

    fn compare(&mut self, op: Comparison, left: &Value<'_>, right: &Value<'_>) -> Result<bool, Stop> {
        if matches!(left, Value::Undefined) || matches!(right, Value::Undefined) {
            return Err(undefined());
        }
        Ok(match op {
            Comparison::Eq => equal(left, right),
            Comparison::Ne => !equal(left, right),
            Comparison::In => self.contains(right, left)?,
            Comparison::NotIn => !self.contains(right, left)?,
            Comparison::Lt => order(left, right)? == Some(Ordering::Less),
            Comparison::Gt => order(left, right)? == Some(Ordering::Greater),
            Comparison::Le => order(left, right)?.is_some_and(Ordering::is_le),
            Comparison::Ge => order(left, right)?.is_some_and(Ordering::is_ge),
        })
    }

    fn contains(&mut self, whole: &Value<'_>, part: &Value<'_>) -> Result<bool, Stop> {
        match whole {
            Value::None => Ok(false),
            // paid for when it was made, item by item
            Value::List(items) => Ok(items.iter().any(|item| equal(item, part))),
            Value::Json(Json::Array(items)) => {
                self.burn(items.len() / 10)?;
                Ok(items.iter().any(|item| equal(&from_json(item.clone()), part)))
            }
            Value::Json(Json::Object(map)) => {
                Ok(matches!(part, Value::Text(key) if map.contains_key(key.as_ref())))
            }
            Value::Text(text) => match part {
                Value::Text(part) => Ok(text.contains(part.as_ref())),
                Value::None => Ok(false),
                other => {
                    Err(failed(&format!("'in': only a text is looked for in a text, not {}", other.kind())))
                }
            },
            other => Err(failed(&format!("'in': {} contains nothing", other.kind()))),
        }
    }

    fn test(&mut self, test: Test, value: &Value<'_>, arg: Option<&Value<'_>>) -> Result<bool, Stop> {
        let is_undefined = matches!(value, Value::Undefined);
        match test {
            Test::Defined => return Ok(!is_undefined),
            Test::Undefined => return Ok(is_undefined),
            _ if is_undefined => return Err(undefined()),
            _ => {}
        }
        let texts = match (value, arg) {
            (Value::Text(text), Some(Value::Text(part))) => Some((text.as_ref(), part.as_ref())),
            _ => None,
        };
        Ok(match test {
            Test::None => matches!(value, Value::None),
            Test::Number => matches!(value, Value::Number(_)),
            Test::Text => matches!(value, Value::Text(_)),
            Test::Boolean => matches!(value, Value::Bool(_)),
            Test::True => matches!(value, Value::Bool(true)),
            Test::False => matches!(value, Value::Bool(false)),
            Test::StartingWith => texts.is_some_and(|(text, part)| text.starts_with(part)),
            Test::EndingWith => texts.is_some_and(|(text, part)| text.ends_with(part)),
            Test::Containing => match arg {
                Some(part) => self.contains(value, part)?,
                None => false,
            },
            Test::Defined | Test::Undefined => false,
        })
    }
}
