//! Does a change match a rule? `changed`, `becomes`, `when`, in this order; the first that does not hold ends it.
//! Knows rows as they are given: where an old row comes from is `rows`' business.
use crate::domain::{Cell, TypeKind};
use crate::mapping::rows::cell;
use crate::mapping::rules::{ListedTexts, Rule};
use crate::mapping::when::evaluate::{Scene, holds};
use crate::mapping::when::value::Stop;
use std::sync::Arc;

/// What is known of one column's old and new value.
enum ConditionStep<'a> {
    /// There was no old row: an insert.
    Fresh(&'a Cell),
    /// Both are known, or known to be the same.
    Known { same: bool, new: &'a Cell },
    /// The old one is not known.
    Unknown(&'a Cell),
}

/// Judges one change. Where the answer hangs on a value that nobody knows, it is `Stop::Unknown`: never a guess.
pub(in crate::mapping) fn matches(rule: &Rule, scene: Scene<'_>) -> Result<bool, Stop> {
    if !rule.changed.is_empty() && !changed(&rule.changed, scene)? {
        return Ok(false);
    }
    if !rule.becomes.is_empty() && !becomes(&rule.becomes, scene)? {
        return Ok(false);
    }
    rule.when.as_ref().map_or(Ok(true), |when| holds(&when.root, scene))
}

/// At least one differs. An insert changes everything.
fn changed(columns: &[Arc<str>], scene: Scene<'_>) -> Result<bool, Stop> {
    let mut unknown = None;
    for column in columns {
        match step(column, scene)? {
            (ConditionStep::Fresh(_) | ConditionStep::Known { same: false, .. }, _) => return Ok(true),
            (ConditionStep::Known { .. }, _) => {}
            (ConditionStep::Unknown(_), _) => unknown = Some(column),
        }
    }
    unknown.map_or(Ok(false), |column| Err(Stop::Unknown(format!("old.{column}"))))
}

/// All have one of their values now, and at least one of them had another value before.
fn becomes(wanted: &[(Arc<str>, Vec<ListedTexts>)], scene: Scene<'_>) -> Result<bool, Stop> {
    let (mut differs, mut old_unknown, mut new_unknown) = (false, None, None);
    for (column, values) in wanted {
        let (step, kind) = step(column, scene)?;
        let new = match step {
            ConditionStep::Fresh(new) => {
                differs = true;
                new
            }
            ConditionStep::Known { same, new } => {
                differs |= !same;
                new
            }
            ConditionStep::Unknown(new) => {
                old_unknown = Some(column);
                new
            }
        };
        match new {
            Cell::Json(json) if values.iter().any(|value| value.is(kind, json)) => {}
            Cell::NotSent => new_unknown = Some(column),
            _ => return Ok(false),
        }
    }
    match (differs, old_unknown, new_unknown) {
        (false, Some(column), _) => Err(Stop::Unknown(format!("old.{column}"))),
        (true, _, Some(column)) => Err(Stop::Unknown(format!("new.{column}"))),
        (differs, _, _) => Ok(differs),
    }
}

fn step<'a>(column: &str, scene: Scene<'a>) -> Result<(ConditionStep<'a>, &'a TypeKind), Stop> {
    let at = scene.table.position(column);
    let found = at.and_then(|at| Some((scene.table.columns.get(at)?, at)));
    let (Some((described, at)), Some(new)) = (found, scene.new) else {
        return Err(Stop::Failed(format!("{} has no column {column}", scene.table_name)));
    };
    let new = new.get(at).unwrap_or(&Cell::NotSent);
    let step = match scene.old.map(|old| old.get(at).unwrap_or(&Cell::NotSent)) {
        None => ConditionStep::Fresh(new),
        // TOAST that was not sent is unchanged, whatever it holds
        Some(Cell::NotSent) if *new == Cell::NotSent => ConditionStep::Known { same: true, new },
        Some(Cell::NotSent) => ConditionStep::Unknown(new),
        Some(old) => ConditionStep::Known { same: cell::same(&described.kind, old, new), new },
    };
    Ok((step, &described.kind))
}

impl ListedTexts {
    /// Is this JSON value the wanted one, for a column of this type?
    pub(in crate::mapping) fn is(&self, kind: &TypeKind, json: &[u8]) -> bool {
        match kind {
            TypeKind::Bool => self.truth == Some(json == b"true"),
            kind if cell::is_numeric(kind) => self.number.is_some() && cell::number(json) == self.number,
            _ => cell::text(json).is_some_and(|text| text == self.text),
        }
    }
}
