//! `EventSpec` → `Rule`, with every problem of every entry. Knows no database: `check` does what needs its tables.
use crate::domain::{EventName, Operation, TenantId};
use crate::mapping::rules::{Data, EventSpec, ListedTexts, OneOrMany, Rule, RuleProblem, Tenant, TenantSpec};
use crate::mapping::when::expression::{Expression, Side};
use std::collections::HashSet;
use std::sync::Arc;

/// Compiles all entries (with their lines) or says all that is wrong with them.
pub(in crate::mapping) fn compile(specs: Vec<(usize, EventSpec)>) -> Result<Vec<Rule>, Vec<RuleProblem>> {
    let mut problems = Vec::new();
    let mut rules: Vec<Rule> = Vec::new();
    let mut names: HashSet<String> = HashSet::new();
    for (line, spec) in specs {
        let label = spec.rule.clone().or_else(|| spec.name.clone());
        let mut entry = RuleEntry { line, label: label.clone().unwrap_or_default(), problems: Vec::new() };
        if let Some(name) = label
            && !names.insert(name.trim().to_owned())
        {
            entry.say("another entry has this rule name; give it its own 'rule'");
        }
        let rule = entry.rule(spec);
        problems.append(&mut entry.problems);
        rules.extend(rule);
    }
    if problems.is_empty() { Ok(rules) } else { Err(problems) }
}

struct RuleEntry {
    line: usize,
    label: String,
    problems: Vec<RuleProblem>,
}

impl RuleEntry {
    fn say(&mut self, text: impl std::fmt::Display) {
        let text = if self.label.is_empty() { text.to_string() } else { format!("{}: {text}", self.label) };
        self.problems.push(RuleProblem { line: self.line, text });
    }

    fn rule(&mut self, spec: EventSpec) -> Option<Rule> {
        let event = self.event(spec.name.as_deref());
        let table = self.table(spec.table.as_deref());
        let on = self.operations(spec.on.as_ref());
        let tenant = self.tenant(spec.tenant);
        let when = self.when(spec.when.as_deref(), &on);
        let resource = spec.resource.unwrap_or_default();
        let id: Vec<Arc<str>> = match resource.id.as_ref().map(OneOrMany::as_slice) {
            Some([]) => {
                self.say("resource.id names no column");
                Vec::new()
            }
            Some(columns) => self.columns("resource.id", columns),
            None => Vec::new(),
        };
        let kind = self.kind(resource.kind, event.as_ref());
        let per_commit = match spec.row.as_deref() {
            None | Some("commit") => true,
            Some("change") => false,
            Some(other) => {
                self.say(format!("row = \"{other}\" is not known; it is \"commit\" or \"change\""));
                true
            }
        };
        let changed = self.list("changed", spec.changed.as_deref());
        let becomes = self.becomes(spec.becomes.map(|pairs| pairs.0));
        self.transitions(&on, !changed.is_empty() || !becomes.is_empty());
        let truncates_only = on == [Operation::Truncate];
        if on.contains(&Operation::Truncate) && matches!(tenant, Some(Tenant::Column(_))) {
            self.say("truncate has no row, so tenant must be { const = \"…\" }");
        }
        if truncates_only && (spec.data.is_some() || spec.omit.is_some() || !id.is_empty()) {
            self.say("truncate has no row, so there is nothing for data, omit or resource.id");
        }
        let data = self.data(spec.data.map(|pairs| pairs.0), spec.omit.as_deref());
        let version = spec.version.unwrap_or_else(|| "1.0".to_owned());
        if version.is_empty() || version.len() > 50 {
            self.say("version is 1 to 50 characters");
        }
        let name: Arc<str> = Arc::from(match spec.rule.as_deref().map(str::trim) {
            Some(name) => {
                if name.is_empty() || name.len() > 100 || name.chars().any(char::is_control) {
                    self.say("rule is 1 to 100 printable characters");
                }
                name
            }
            None => event.as_ref().map_or("", EventName::as_str),
        });
        Some(Rule {
            line: self.line,
            event: event?,
            name,
            table: table?,
            on,
            tenant: tenant?,
            kind,
            id,
            per_commit,
            data,
            changed,
            becomes,
            when,
            optional: spec.optional,
            version,
        })
    }

    fn event(&mut self, name: Option<&str>) -> Option<EventName> {
        let Some(name) = name else {
            self.say("'name' is missing");
            return None;
        };
        match EventName::parse(name) {
            Err(text) => {
                self.say(text);
                None
            }
            Ok(name) => {
                if matches!(name.first_segment(), "webhook" | "error") {
                    self.say(format!("the names {}.* are Tailhook's own", name.first_segment()));
                }
                Some(name)
            }
        }
    }

    fn table(&mut self, table: Option<&str>) -> Option<Arc<str>> {
        let Some(table) = table else {
            self.say("'table' is missing");
            return None;
        };
        // identifiers are at most 63 bytes; a name with a dot cannot be told apart
        let part = |part: &str| (1..=63).contains(&part.len()) && !part.contains(['\0', '\n']);
        match table.split_once('.') {
            Some((schema, name)) if part(schema) && part(name) && !name.contains('.') => Some(table.into()),
            _ => {
                self.say(format!("table = \"{table}\" is no schema.table, like \"public.invoices\""));
                None
            }
        }
    }

    fn operations(&mut self, on: Option<&OneOrMany<String>>) -> Vec<Operation> {
        let words = on.map_or(&[][..], OneOrMany::as_slice);
        if words.is_empty() {
            self.say("'on' is missing: insert, update, delete, truncate, or a list of them");
        }
        let all = [Operation::Insert, Operation::Update, Operation::Delete, Operation::Truncate];
        let mut operations = Vec::new();
        for word in words {
            match all.iter().find(|op| op.as_str() == word) {
                Some(op) if operations.contains(op) => self.say(format!("on names {word} twice")),
                Some(op) => operations.push(*op),
                None => {
                    self.say(format!(
                        "on = \"{word}\" is not known; there are insert, update, delete and truncate"
                    ));
                }
            }
        }
        operations
    }

    fn tenant(&mut self, tenant: Option<TenantSpec>) -> Option<Tenant> {
        match tenant {
            None => {
                self.say("'tenant' is missing: a column, or { const = \"…\" }");
                None
            }
            Some(TenantSpec::Column(column)) => self.columns("tenant", &[column]).pop().map(Tenant::Column),
            Some(TenantSpec::Constant(tenant)) => {
                if tenant.constant.is_empty() {
                    self.say("tenant.const is empty");
                }
                Some(Tenant::Constant(TenantId::new(tenant.constant)))
            }
        }
    }

    fn when(&mut self, source: Option<&str>, on: &[Operation]) -> Option<Expression> {
        let expression = match Expression::compile(source?) {
            Ok(expression) => expression,
            Err(text) => {
                self.say(format!("when: {text}"));
                return None;
            }
        };
        let has = |side| match side {
            Side::Old => on.iter().any(|op| matches!(op, Operation::Update | Operation::Delete)),
            Side::New => on.iter().any(|op| matches!(op, Operation::Insert | Operation::Update)),
        };
        for (side, word) in [(Side::Old, "old"), (Side::New, "new")] {
            if !on.is_empty() && !has(side) && expression.columns.iter().any(|(named, _)| *named == side) {
                let on: Vec<&str> = on.iter().map(|op| op.as_str()).collect();
                self.say(format!("when names {word}, and {} has no {word} row", on.join(", ")));
            }
        }
        Some(expression)
    }

    fn kind(&mut self, kind: Option<String>, event: Option<&EventName>) -> String {
        match kind {
            Some(kind) => {
                if kind.is_empty() || kind.len() > 100 {
                    self.say("resource.type is 1 to 100 characters");
                }
                kind
            }
            None => event.map_or("", EventName::first_segment).to_owned(),
        }
    }

    fn becomes(
        &mut self,
        pairs: Option<Vec<(String, OneOrMany<crate::mapping::rules::Scalar>)>>,
    ) -> Vec<(Arc<str>, Vec<ListedTexts>)> {
        let Some(pairs) = pairs else { return Vec::new() };
        if pairs.is_empty() {
            self.say("becomes is empty");
        }
        let mut becomes = Vec::new();
        for (column, values) in pairs {
            if values.as_slice().is_empty() {
                self.say(format!("becomes.{column} lists no value"));
            }
            if !values.as_slice().iter().all(crate::mapping::rules::Scalar::is_exact) {
                self.say(format!("becomes.{column} has more digits than a float holds; write it as a text"));
            }
            let wanted = values.as_slice().iter().map(ListedTexts::from).collect();
            becomes.extend(self.columns("becomes", &[column]).pop().map(|column| (column, wanted)));
        }
        becomes
    }

    fn transitions(&mut self, on: &[Operation], any: bool) {
        let only_row_changes = on.iter().all(|op| matches!(op, Operation::Insert | Operation::Update));
        if any && !on.is_empty() && !(only_row_changes && on.contains(&Operation::Update)) {
            self.say("changed and becomes compare old and new, so on must be \"update\" (or [\"insert\", \"update\"])");
        }
    }

    fn data(&mut self, pairs: Option<Vec<(String, String)>>, omit: Option<&[String]>) -> Data {
        if pairs.is_some() && omit.is_some() {
            self.say("data and omit together: data says what is sent, omit what is not; leave one out");
        }
        let Some(pairs) = pairs else { return Data::AllBut(self.list("omit", omit)) };
        if pairs.is_empty() {
            self.say("data is empty; leave it out for all columns");
        }
        let mut named = Vec::new();
        for (key, column) in pairs {
            if key.is_empty() {
                self.say("data has an empty key");
            }
            named.extend(self.columns("data", &[column]).pop().map(|column| (key, column)));
        }
        Data::Named(named)
    }

    fn list(&mut self, key: &str, columns: Option<&[String]>) -> Vec<Arc<str>> {
        match columns {
            None => Vec::new(),
            Some([]) => {
                self.say(format!("{key} is empty"));
                Vec::new()
            }
            Some(columns) => self.columns(key, columns),
        }
    }

    fn columns(&mut self, key: &str, columns: &[String]) -> Vec<Arc<str>> {
        let mut seen: Vec<Arc<str>> = Vec::with_capacity(columns.len());
        for column in columns {
            if column.is_empty() || column.len() > 63 || column.chars().any(char::is_control) {
                self.say(format!("{key}: '{}' is no column name", column.escape_debug()));
            } else if seen.iter().any(|known| **known == **column) {
                self.say(format!("{key} names {column} twice"));
            } else {
                seen.push(column.as_str().into());
            }
        }
        seen
    }
}
