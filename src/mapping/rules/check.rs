//! The mapping against the tables as the catalog describes them: names that are no column, missing keys, missing tables.
//! Knows no connection: the tables are given.
use crate::domain::{Operation, Table};
use crate::mapping::rules::{Rule, RuleProblem};
use crate::mapping::{Compiled, TableNeeds};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Each mapped table, sorted by name.
pub(in crate::mapping) fn tables(compiled: &Compiled) -> Vec<TableNeeds> {
    let mut needs: BTreeMap<&Arc<str>, TableNeeds> = BTreeMap::new();
    for rule in &compiled.rules {
        let (schema, name) = rule.table.split_once('.').unwrap_or(("public", &rule.table));
        let entry = needs.entry(&rule.table).or_insert_with(|| TableNeeds {
            table: Arc::clone(&rule.table),
            schema: schema.to_owned(),
            name: name.to_owned(),
            columns: Vec::new(),
            optional: true,
            shadow: compiled.plan.table(&rule.table).is_some(),
            insert_only: true,
        });
        entry.optional &= rule.optional;
        entry.insert_only &= rule.on.iter().all(|op| *op == Operation::Insert);
        entry.columns.extend(rule.columns().cloned());
    }
    let mut needs: Vec<TableNeeds> = needs.into_values().collect();
    for need in &mut needs {
        need.columns.sort();
        need.columns.dedup();
    }
    needs
}

/// All problems with the tables that `find` gives; what it does not give is missing.
pub(in crate::mapping) fn check<'t>(
    compiled: &Compiled,
    find: &dyn Fn(&str) -> Option<&'t Table>,
) -> Vec<RuleProblem> {
    let mut problems = Vec::new();
    for (name, rules) in &compiled.by_table {
        let rules: Vec<&Rule> = rules.iter().filter_map(|&number| compiled.rules.get(number)).collect();
        match find(name) {
            None => {
                let missing = rules.iter().filter(|rule| !rule.optional);
                problems.extend(missing.map(|rule| {
                    problem(rule, format!("there is no table {name} (optional = true would park the rule)"))
                }));
            }
            Some(table) => {
                for rule in &rules {
                    columns(rule, table, &mut problems);
                }
                if let Some(first) = rules.first() {
                    keys(compiled, first, table, &rules, &mut problems);
                }
            }
        }
    }
    problems.sort_by(|a, b| (a.line, &a.text).cmp(&(b.line, &b.text)));
    problems
}

fn problem(rule: &Rule, text: impl std::fmt::Display) -> RuleProblem {
    RuleProblem { line: rule.line, text: format!("{}: {text}", rule.name) }
}

fn columns(rule: &Rule, table: &Table, problems: &mut Vec<RuleProblem>) {
    let mut missing: Vec<&Arc<str>> =
        rule.columns().filter(|column| table.position(column).is_none()).collect();
    missing.sort();
    missing.dedup();
    problems.extend(missing.into_iter().map(|column| {
        let near = nearest(column, table).map(|name| format!("; did you mean {name}?"));
        let near = near.unwrap_or_else(|| " (generated columns are not published)".to_owned());
        problem(rule, format!("{} has no column {column}{near}", rule.table))
    }));
    for (column, values) in &rule.becomes {
        let Some(described) = table.position(column).and_then(|at| table.columns.get(at)) else { continue };
        for value in values.iter().filter(|value| !value.may_be(&described.kind)) {
            let text = format!("becomes.{column}: a {} is never '{}'", described.type_name, value.text);
            problems.push(problem(rule, text));
        }
    }
}

fn keys(compiled: &Compiled, first: &Rule, table: &Table, rules: &[&Rule], problems: &mut Vec<RuleProblem>) {
    let name = table.full_name();
    let row_rules = |rule: &&&Rule| rule.on.iter().any(|op| *op != Operation::Truncate);
    if table.primary_key.is_empty() {
        if compiled.plan.table(&first.table).is_some() {
            let text = format!("{name} has no primary key, and old values are remembered by it");
            problems.push(problem(first, text));
        }
        for rule in rules.iter().filter(row_rules).filter(|rule| rule.id.is_empty()) {
            let text =
                format!("{name} has no primary key, so resource = {{ id = \"…\" }} must name a column");
            problems.push(problem(rule, text));
        }
    }
}

/// A column whose name differs by case, or holds the wanted one, or is held by it.
fn nearest<'t>(wanted: &str, table: &'t Table) -> Option<&'t str> {
    let lower = wanted.to_lowercase();
    let mut names = table.columns.iter().map(|column| &*column.name);
    let close = |name: &&str| {
        let name = name.to_lowercase();
        name == lower || (name.len().min(lower.len()) > 2 && (name.contains(&lower) || lower.contains(&name)))
    };
    names.find(close)
}
