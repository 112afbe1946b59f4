//! One file: finds what each change is about, and writes both.
use crate::{Change, Stretch};
use std::collections::BTreeMap;
use std::ops::Range;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Arm, BinOp, Expr, ExprBinary, ExprUnary};

/// A place of the source where something is chosen.
struct Node {
    range: Range<usize>,
    kind: Kind,
}

enum Kind {
    /// Number and operator of each change.
    Binary {
        left: Range<usize>,
        right: Range<usize>,
        own: Range<usize>,
        changes: Vec<(usize, String)>,
    },
    Unary {
        inner: Range<usize>,
        own: Range<usize>,
        number: usize,
    },
    /// What the function gives instead.
    Body {
        changes: Vec<(usize, String)>,
    },
    /// An arm that is gone, a guard that is always or never true. `guard`: its expression, and whether it binds names.
    Arm {
        guard: Option<(Range<usize>, bool)>,
        gone: Option<usize>,
        always: Option<usize>,
        never: Option<usize>,
    },
    /// Chooses nothing itself: errors in it that are nobody's are everybody's.
    Around {
        numbers: Vec<usize>,
    },
}

/// The woven text, and where changes stand in it.
pub(crate) fn file(text: &str, changes: &[Change]) -> (String, Vec<Stretch>) {
    let lines: Vec<usize> =
        std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
    let mut at: BTreeMap<(usize, &str), Vec<&Change>> = BTreeMap::new();
    for change in changes {
        let line = lines[change.span.start.line - 1];
        let rest = text[line..].char_indices().nth(change.span.start.column - 1);
        let byte = line + rest.map_or(0, |(byte, _)| byte);
        at.entry((byte, change.genre.as_str())).or_default().push(change);
    }
    let mut finder = Finder { at, nodes: Vec::new() };
    finder.visit_file(&syn::parse_file(text).expect("the source is Rust"));
    let mut nodes = finder.nodes;
    // what is around comes first; of the same start an empty one does: it is in front of it
    nodes.sort_by_key(|node| {
        let length = node.range.len();
        (node.range.start, length > 0, std::cmp::Reverse(length))
    });
    let mut pen = Pen { text, nodes: &nodes, out: String::new(), stretches: Vec::new() };
    pen.write(0..text.len(), 0..nodes.len());
    (pen.out, pen.stretches)
}

struct Finder<'a> {
    at: BTreeMap<(usize, &'a str), Vec<&'a Change>>,
    nodes: Vec<Node>,
}

fn range(node: &impl Spanned) -> Range<usize> {
    node.span().byte_range()
}

/// `let` in a chain of `&&` binds names that a choice would hide.
fn binds(expression: &Expr) -> bool {
    match expression {
        Expr::Let(_) => true,
        Expr::Binary(binary) if matches!(binary.op, BinOp::And(_)) => {
            binds(&binary.left) || binds(&binary.right)
        }
        _ => false,
    }
}

impl Finder<'_> {
    fn take(&mut self, byte: usize, genre: &'static str) -> Vec<(usize, String)> {
        let found = self.at.remove(&(byte, genre)).unwrap_or_default();
        found.iter().map(|change| (change.number, change.replacement.clone())).collect()
    }

    fn function(&mut self, signature: &syn::Signature, block: &syn::Block, visit: impl FnOnce(&mut Self)) {
        // nothing can be asked at compile time
        if signature.constness.is_some() {
            return;
        }
        let Range { start, end } = range(block);
        let first = self.at.range((start, "FnValue")..(end, "")).find(|((_, genre), _)| *genre == "FnValue");
        let first = first
            .map(|((byte, _), _)| *byte)
            .filter(|byte| block.stmts.first().is_some_and(|statement| *byte <= range(statement).start));
        if let Some(byte) = first {
            let found = self.at.remove(&(byte, "FnValue")).unwrap_or_default();
            // all that such a function gives is of one type
            let named = |change: &&Change| {
                change.function.as_ref().is_none_or(|function| !function.return_type.contains("impl "))
            };
            let changes: Vec<_> = found
                .into_iter()
                .filter(named)
                .map(|change| (change.number, change.replacement.clone()))
                .collect();
            if !changes.is_empty() {
                self.nodes.push(Node { range: byte..byte, kind: Kind::Body { changes } });
            }
        }
        let before = self.nodes.len();
        visit(self);
        let numbers = self.nodes[before..].iter().flat_map(|node| match &node.kind {
            Kind::Arm { gone, always, never, .. } => [*gone, *always, *never].into_iter().flatten().collect(),
            _ => Vec::new(),
        });
        let numbers = numbers.collect();
        self.nodes.push(Node { range: start..end, kind: Kind::Around { numbers } });
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}
    fn visit_item_static(&mut self, _: &'ast syn::ItemStatic) {}
    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}
    fn visit_trait_item_const(&mut self, _: &'ast syn::TraitItemConst) {}
    fn visit_type(&mut self, _: &'ast syn::Type) {}
    fn visit_pat(&mut self, _: &'ast syn::Pat) {}

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, &item.block, |this| visit::visit_item_fn(this, item));
    }
    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, &item.block, |this| visit::visit_impl_item_fn(this, item));
    }
    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.function(&item.sig, block, |this| visit::visit_trait_item_fn(this, item));
        }
    }

    fn visit_expr_binary(&mut self, binary: &'ast ExprBinary) {
        let own = range(&binary.op);
        if !binds(&binary.left) && !binds(&binary.right) {
            let changes = self.take(own.start, "BinaryOperator");
            if !changes.is_empty() {
                let (left, right) = (range(&*binary.left), range(&*binary.right));
                let node =
                    Node { range: left.start..right.end, kind: Kind::Binary { left, right, own, changes } };
                self.nodes.push(node);
            }
        }
        visit::visit_expr_binary(self, binary);
    }

    fn visit_expr_unary(&mut self, unary: &'ast ExprUnary) {
        let own = range(&unary.op);
        if let Some((number, _)) = self.take(own.start, "UnaryOperator").first() {
            let inner = range(&*unary.expr);
            let kind = Kind::Unary { inner: inner.clone(), own: own.clone(), number: *number };
            self.nodes.push(Node { range: own.start..inner.end, kind });
        }
        visit::visit_expr_unary(self, unary);
    }

    fn visit_arm(&mut self, arm: &'ast Arm) {
        let gone = self.take(range(arm).start, "MatchArm").first().map(|(number, _)| *number);
        let pattern = range(&arm.pat).end;
        let (mut always, mut never, mut guard) = (None, None, None);
        if let Some((_, expression)) = &arm.guard {
            guard = Some((range(&**expression), binds(expression)));
            if !binds(expression) {
                for (number, replacement) in self.take(range(&**expression).start, "MatchArmGuard") {
                    *(if replacement == "true" { &mut always } else { &mut never }) = Some(number);
                }
            }
        }
        if gone.or(always).or(never).is_some() {
            let end = guard.as_ref().map_or(pattern, |(guard, _)| guard.end);
            self.nodes.push(Node { range: pattern..end, kind: Kind::Arm { guard, gone, always, never } });
        }
        visit::visit_arm(self, arm);
    }
}

struct Pen<'a> {
    text: &'a str,
    nodes: &'a [Node],
    out: String,
    stretches: Vec<Stretch>,
}

impl Pen<'_> {
    /// Writes a stretch of the source, with those of `nodes` that lie in it.
    fn write(&mut self, range: Range<usize>, nodes: Range<usize>) {
        let mut at = range.start;
        let mut next = nodes.start;
        while next < nodes.end {
            let node = &self.nodes[next];
            if node.range.start < at || node.range.end > range.end {
                next += 1;
                continue;
            }
            let inside =
                (next + 1..nodes.end).take_while(|n| self.nodes[*n].range.start < node.range.end).count();
            let inside = next + 1..next + 1 + inside;
            self.out.push_str(&self.text[at..node.range.start]);
            let start = self.out.len();
            let numbers = self.node(node, inside.clone());
            self.stretches.push(Stretch { range: start..self.out.len(), numbers, exact: false });
            at = node.range.end;
            next = inside.end;
        }
        self.out.push_str(&self.text[at..range.end]);
    }

    /// The text of one change.
    fn changed(&mut self, number: usize, text: &str) {
        let start = self.out.len();
        self.out.push_str(text);
        self.stretches.push(Stretch { range: start..self.out.len(), numbers: vec![number], exact: true });
    }

    fn node(&mut self, node: &Node, inside: Range<usize>) -> Vec<usize> {
        match &node.kind {
            Kind::Binary { left, right, own, changes } => {
                let (l, r) = (&self.text[left.clone()], &self.text[right.clone()]);
                self.out.push('(');
                for (number, operator) in changes {
                    self.out.push_str(&format!("if crate::woven::is({number}) "));
                    self.changed(*number, &format!("{{({l}) {operator} ({r})}}"));
                    self.out.push_str(" else ");
                }
                self.out.push_str("{(");
                self.write(left.clone(), inside.clone());
                self.out.push_str(&format!(") {} (", &self.text[own.clone()]));
                self.write(right.clone(), inside);
                self.out.push_str(")})");
                changes.iter().map(|(number, _)| *number).collect()
            }
            Kind::Unary { inner, own, number } => {
                self.out.push_str(&format!("(if crate::woven::is({number}) "));
                self.changed(*number, &format!("{{({})}}", &self.text[inner.clone()]));
                self.out.push_str(&format!(" else {{{}(", &self.text[own.clone()]));
                self.write(inner.clone(), inside);
                self.out.push_str(")})");
                vec![*number]
            }
            Kind::Body { changes } => {
                for (number, value) in changes {
                    self.out.push_str(&format!("if crate::woven::is({number}) "));
                    self.changed(*number, &format!("{{ return {value}; }}"));
                    self.out.push(' ');
                }
                changes.iter().map(|(number, _)| *number).collect()
            }
            Kind::Arm { guard, gone, always, never } => {
                self.out.push_str(" if true");
                for number in gone.iter().chain(never) {
                    self.out.push_str(" && ");
                    self.changed(*number, &format!("!crate::woven::is({number})"));
                }
                match guard {
                    Some((guard, true)) => {
                        self.out.push_str(" && ");
                        self.write(guard.clone(), inside);
                    }
                    Some((guard, false)) => {
                        self.out.push_str(" && (");
                        if let Some(number) = always {
                            self.changed(*number, &format!("crate::woven::is({number})"));
                            self.out.push_str(" || ");
                        }
                        self.out.push('(');
                        self.write(guard.clone(), inside);
                        self.out.push_str("))");
                    }
                    None => {}
                }
                [*gone, *always, *never].into_iter().flatten().collect()
            }
            Kind::Around { numbers } => {
                self.write(node.range.clone(), inside);
                numbers.clone()
            }
        }
    }
}
