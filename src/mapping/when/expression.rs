//! `when` expressions: minijinja's grammar, resolved at load so that a name that is unknown is found there.
//! Knows no values: `evaluate` does. The only file that names minijinja.
//!
//! The tree is evaluated here and not by minijinja's machine: that one has 64-bit floats where money needs decimals, and
//! no word for "not known", which an old row without memory needs.
use crate::fault;
use crate::mapping::when::decimal::{Decimal, Math};
use crate::mapping::when::hint;
use crate::mapping::when::names::{comparison_named, filter_named, test_named};
use minijinja::machinery::{ast, parse_expr};
use std::sync::Arc;

/// Source longer than this is refused: nesting must not exhaust the stack.
const MAX_SOURCE: usize = 4096;
/// Nor may `-----1`: the grammar's own limit does not count what stands before a value. Texts of dates have fewer.
const MAX_PREFIXES: usize = 1000;
/// Deepest nesting.
const MAX_DEPTH: usize = 100;

/// Which row a column is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::mapping) enum Side {
    Old,
    New,
}

/// A constant.
#[derive(Debug, Clone)]
pub(in crate::mapping) enum Literal {
    None,
    Bool(bool),
    Number(Decimal),
    Text(Box<str>),
}

/// `==` and its kin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mapping) enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
}

/// `value | filter`; the names are minijinja's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mapping) enum ExpressionFilter {
    Lower,
    Upper,
    Trim,
    Length,
    Abs,
    Int,
    Float,
    Text,
    Default,
}

/// `value is test`; the names are minijinja's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mapping) enum Test {
    None,
    Defined,
    Undefined,
    Number,
    Text,
    Boolean,
    True,
    False,
    StartingWith,
    EndingWith,
    Containing,
}

/// One node of the resolved tree.
#[derive(Debug, Clone)]
pub(in crate::mapping) enum Node {
    Literal(Literal),
    Column(Side, Arc<str>),
    Row(Side),
    Op,
    Table,
    List(Vec<Node>),
    Item(Box<(Node, Node)>),
    Not(Box<Node>),
    Neg(Box<Node>),
    And(Box<(Node, Node)>),
    Or(Box<(Node, Node)>),
    Math(Math, Box<(Node, Node)>),
    Concat(Box<(Node, Node)>),
    Compare(Box<Node>, Vec<(Comparison, Node)>),
    If(Box<(Node, Node, Node)>),
    Filter(ExpressionFilter, Box<Node>, Vec<Node>),
    Test(Test, Box<Node>, Vec<Node>),
}

/// A compiled `when`.
#[derive(Debug, Clone)]
pub(in crate::mapping) struct Expression {
    /// The tree.
    pub(in crate::mapping) root: Node,
    /// Every column that it names, with its row; no repeats.
    pub(in crate::mapping) columns: Vec<(Side, Arc<str>)>,
}

impl Expression {
    /// Parses and resolves. The error is one line for people: what is wrong, what to write instead, and in which line of
    /// the expression if it has several.
    pub(in crate::mapping) fn compile(source: &str) -> Result<Self, String> {
        let mut compiler = Compiler { source, columns: Vec::new(), line: 0 };
        match compiler.root() {
            Ok(root) => Ok(Self { root, columns: compiler.columns }),
            Err(text) => {
                let text = hint::explain(source, text);
                let several = compiler.line > 0 && source.trim().contains('\n');
                Err(if several { format!("{text} (line {} of the expression)", compiler.line) } else { text })
            }
        }
    }
}

/// What the grammar's reader would not refuse: a `}` outside a text (it takes `}}` for the end and panics on whatever
/// follows), and two texts side by side (it joins them: `'it''s'` would be its).
fn unwanted(source: &str) -> Option<&'static str> {
    let (mut quote, mut escaped, mut behind_text) = (None, false, false);
    for c in source.chars() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if c == open => (quote, behind_text) = (None, true),
            (Some(_), _) => {}
            (None, '\'' | '"') if behind_text => {
                return Some("two texts stand side by side; '~' joins texts");
            }
            (None, '\'' | '"') => quote = Some(c),
            (None, '}') if !fault::planted("brace-believed") => {
                return Some("a '}' stands outside a text; maps are not supported");
            }
            (None, c) => behind_text &= c.is_whitespace(),
        }
    }
    None
}

struct Compiler<'a> {
    source: &'a str,
    columns: Vec<(Side, Arc<str>)>,
    /// Line of what was looked at last, from 1; 0: nothing yet.
    line: usize,
}

impl Compiler<'_> {
    fn root(&mut self) -> Result<Node, String> {
        let source = self.source;
        if source.len() > MAX_SOURCE {
            return Err(format!("longer than {MAX_SOURCE} bytes"));
        }
        if source.matches('-').count() + source.matches("not").count() > MAX_PREFIXES {
            return Err(format!("more than {MAX_PREFIXES} of '-' and 'not'"));
        }
        if let Some(text) = unwanted(source) {
            return Err(text.into());
        }
        let tree = parse_expr(source).map_err(|error| {
            self.line = error.line().unwrap_or(0);
            error.detail().map_or_else(|| error.to_string(), str::to_owned)
        })?;
        // Behind a text the grammar's reader takes what it cannot read for the end, and forgets the rest. In brackets it
        // misses the closing one.
        if parse_expr(&format!("({source}\n)")).is_err() {
            return Err("what stands behind a text cannot be read".into());
        }
        self.node(&tree, 0)
    }

    fn node(&mut self, expr: &ast::Expr<'_>, depth: usize) -> Result<Node, String> {
        let depth = depth + 1;
        if depth > MAX_DEPTH {
            return Err(format!("nested deeper than {MAX_DEPTH}"));
        }
        self.line = usize::from(expr.span().start_line);
        Ok(match expr {
            ast::Expr::Var(var) => variable(var.id)?,
            ast::Expr::Const(constant) => {
                let span = constant.span();
                let written = self.source.get(span.start_offset as usize..span.end_offset as usize);
                Node::Literal(literal(&constant.value, written)?)
            }
            ast::Expr::List(list) => {
                Node::List(list.items.iter().map(|item| self.node(item, depth)).collect::<Result<_, _>>()?)
            }
            ast::Expr::GetAttr(get) => {
                let of = self.node(&get.expr, depth)?;
                self.access(of, Node::Literal(Literal::Text(get.name.into())))?
            }
            ast::Expr::GetItem(get) => {
                let of = self.node(&get.expr, depth)?;
                let index = self.node(&get.subscript_expr, depth)?;
                self.access(of, index)?
            }
            ast::Expr::UnaryOp(unary) => {
                let of = Box::new(self.node(&unary.expr, depth)?);
                match unary.op {
                    ast::UnaryOpKind::Not => Node::Not(of),
                    ast::UnaryOpKind::Neg => Node::Neg(of),
                }
            }
            ast::Expr::BinOp(binary) => {
                let pair = Box::new((self.node(&binary.left, depth)?, self.node(&binary.right, depth)?));
                binary_node(binary.op, pair)?
            }
            ast::Expr::Compare(chain) => {
                let rest = chain.ops.iter().map(|op| Ok((comparison(op.op), self.node(&op.expr, depth)?)));
                let rest = rest.collect::<Result<_, String>>()?;
                Node::Compare(Box::new(self.node(&chain.expr, depth)?), rest)
            }
            ast::Expr::IfExpr(choice) => {
                let otherwise = match &choice.false_expr {
                    Some(otherwise) => self.node(otherwise, depth)?,
                    None => Node::Literal(Literal::None),
                };
                let test = self.node(&choice.test_expr, depth)?;
                Node::If(Box::new((test, self.node(&choice.true_expr, depth)?, otherwise)))
            }
            ast::Expr::Filter(filter) => {
                let (kind, arity) = filter_named(filter.name)?;
                let of = filter.expr.as_ref().ok_or("a filter needs a value")?;
                let args = self.args(filter.name, &filter.args, arity, depth)?;
                Node::Filter(kind, Box::new(self.node(of, depth)?), args)
            }
            ast::Expr::Test(test) => self.test(test, depth)?,
            ast::Expr::Call(_) => {
                return Err("calls are not supported; a filter stands behind its value: new.x | lower".into());
            }
            ast::Expr::Slice(_) | ast::Expr::Map(_) => {
                return Err("slices and maps are not supported".into());
            }
        })
    }

    fn access(&mut self, of: Node, index: Node) -> Result<Node, String> {
        Ok(match (of, index) {
            (Node::Row(side), Node::Literal(Literal::Text(name))) => self.column(side, &name),
            (Node::Row(_), _) => return Err("a column is named by a constant".into()),
            // the grammar reads -new.total as (-new).total
            (Node::Neg(of), index) => Node::Neg(Box::new(self.access(*of, index)?)),
            (of, index) => Node::Item(Box::new((of, index))),
        })
    }

    fn test(&mut self, test: &ast::Test<'_>, depth: usize) -> Result<Node, String> {
        if let Some(op) = comparison_named(test.name) {
            let mut args = self.args(test.name, &test.args, 1, depth)?;
            let right = args.pop().ok_or("a test needs a value")?;
            return Ok(Node::Compare(Box::new(self.node(&test.expr, depth)?), vec![(op, right)]));
        }
        let (kind, arity) = test_named(test.name)?;
        let args = self.args(test.name, &test.args, arity, depth)?;
        Ok(Node::Test(kind, Box::new(self.node(&test.expr, depth)?), args))
    }

    fn args(
        &mut self,
        name: &str,
        args: &[ast::CallArg<'_>],
        arity: usize,
        depth: usize,
    ) -> Result<Vec<Node>, String> {
        if args.len() != arity {
            return Err(format!("'{name}' takes {arity} argument(s)"));
        }
        args.iter()
            .map(|arg| match arg {
                ast::CallArg::Pos(expr) => self.node(expr, depth),
                _ => Err(format!("'{name}' takes no named arguments")),
            })
            .collect()
    }

    fn column(&mut self, side: Side, name: &str) -> Node {
        let known = self.columns.iter().find(|(s, column)| *s == side && &**column == name);
        let column = known.map_or_else(|| Arc::from(name), |(_, column)| Arc::clone(column));
        if known.is_none() {
            self.columns.push((side, Arc::clone(&column)));
        }
        Node::Column(side, column)
    }
}

fn variable(name: &str) -> Result<Node, String> {
    Ok(match name {
        "old" => Node::Row(Side::Old),
        "new" => Node::Row(Side::New),
        "op" => Node::Op,
        "table" => Node::Table,
        other => {
            let known =
                "there are old, new, op and table; a column is new.x or old.x, a text stands in quotes";
            return Err(format!("'{other}' is not known; {}", hint::word(other).as_deref().unwrap_or(known)));
        }
    })
}

/// Numbers are taken as written, for minijinja's own are floats.
fn literal(value: &minijinja::Value, written: Option<&str>) -> Result<Literal, String> {
    use minijinja::value::ValueKind;
    Ok(match value.kind() {
        ValueKind::None => Literal::None,
        ValueKind::Bool => Literal::Bool(value.is_true()),
        ValueKind::Number => {
            let exact = written.and_then(|text| Decimal::parse(&text.replace('_', "")));
            let number = exact.or_else(|| Decimal::parse(&value.to_string()));
            Literal::Number(number.ok_or_else(|| format!("{value} is no usable number"))?)
        }
        ValueKind::String => Literal::Text(value.as_str().unwrap_or_default().into()),
        kind => return Err(format!("a constant {kind} is not supported")),
    })
}

fn binary_node(op: ast::BinOpKind, pair: Box<(Node, Node)>) -> Result<Node, String> {
    use ast::BinOpKind as Op;
    let compare = |op, pair: (Node, Node)| Node::Compare(Box::new(pair.0), vec![(op, pair.1)]);
    Ok(match op {
        Op::ScAnd => Node::And(pair),
        Op::ScOr => Node::Or(pair),
        Op::Add => Node::Math(Math::Add, pair),
        Op::Sub => Node::Math(Math::Sub, pair),
        Op::Mul => Node::Math(Math::Mul, pair),
        Op::Div => Node::Math(Math::Div, pair),
        Op::FloorDiv => Node::Math(Math::Floor, pair),
        Op::Rem => Node::Math(Math::Rem, pair),
        Op::Concat => Node::Concat(pair),
        Op::Pow => return Err("'**' is not supported".into()),
        Op::Eq => compare(Comparison::Eq, *pair),
        Op::Ne => compare(Comparison::Ne, *pair),
        Op::Lt => compare(Comparison::Lt, *pair),
        Op::Lte => compare(Comparison::Le, *pair),
        Op::Gt => compare(Comparison::Gt, *pair),
        Op::Gte => compare(Comparison::Ge, *pair),
        Op::In => compare(Comparison::In, *pair),
    })
}

fn comparison(op: ast::CompareOpKind) -> Comparison {
    match op {
        ast::CompareOpKind::Eq => Comparison::Eq,
        ast::CompareOpKind::Ne => Comparison::Ne,
        ast::CompareOpKind::Lt => Comparison::Lt,
        ast::CompareOpKind::Lte => Comparison::Le,
        ast::CompareOpKind::Gt => Comparison::Gt,
        ast::CompareOpKind::Gte => Comparison::Ge,
        ast::CompareOpKind::In => Comparison::In,
        ast::CompareOpKind::NotIn => Comparison::NotIn,
    }
}
