//! The mapping that every simulated sidecar runs, and what each rule means, written a second time in plain code so
//! that the truth does not come from the code under test.
use crate::erp::{Cells, Op};
use crate::schema::{CLIENTS, INVOICES, PAYMENTS, STOCK, TABLES};

/// The mapping as an operator writes it.
pub(crate) const MAPPING: &str = r#"
[[event]]
name = "invoice.created"
table = "public.invoices"
on = "insert"
tenant = "tenant_id"
data = { invoice_id = "id", invoice_number = "number", amount = "total", status = "status" }

[[event]]
name = "invoice.sent"
table = "public.invoices"
on = "update"
changed = ["status"]
becomes = { status = "sent" }
when = "new.total > 0"
tenant = "tenant_id"
data = { number = "number", total = "total" }

[[event]]
name = "invoice.moved"
table = "public.invoices"
on = "update"
changed = ["status"]
tenant = "tenant_id"
row = "change"
data = { status = "status" }

[[event]]
name = "invoice.noted"
table = "public.invoices"
on = "update"
changed = ["number"]
tenant = "tenant_id"
data = { number = "number", notes = "notes" }

[[event]]
name = "invoice.deleted"
table = "public.invoices"
on = "delete"
tenant = "tenant_id"
data = { number = "number", status = "status" }

[[event]]
name = "payment.received"
table = "public.payments"
on = "insert"
tenant = "tenant_id"
resource = { type = "invoice", id = "invoice_id" }
row = "change"

[[event]]
name = "client.updated"
table = "public.clients"
on = "update"
tenant = "tenant_id"
omit = ["tenant_id"]

[[event]]
name = "stock.cleared"
table = "public.stock_items"
on = "truncate"
tenant = { const = "main" }
"#;

/// `stock.cleared` has no row to take a tenant from.
pub(crate) const CONST_TENANT: &str = "main";

/// What one rule means.
pub(crate) struct Rule {
    pub(crate) name: &'static str,
    pub(crate) table: usize,
    /// Does this change match?
    pub(crate) matches: fn(&Op) -> bool,
    /// One event a row and transaction with the row as committed, or one a change.
    pub(crate) at_commit: bool,
    /// `resource_type`, and the columns that make `resource_id`.
    pub(crate) resource: (&'static str, &'static [&'static str]),
    /// Keys of `data` and their columns.
    pub(crate) data: &'static [(&'static str, &'static str)],
}

fn update(op: &Op, holds: impl Fn(&Cells, &Cells) -> bool) -> bool {
    matches!(op, Op::Update { old, new, .. } if holds(old, new))
}

fn status(cells: &Cells) -> Option<&str> {
    cells[TABLES[INVOICES].column("status")].as_deref()
}

fn positive(cells: &Cells) -> bool {
    cells[TABLES[INVOICES].column("total")].as_ref().is_some_and(|t| t.parse::<f64>().unwrap() > 0.0)
}

/// In the order of the mapping.
pub(crate) static RULES: [Rule; 8] = [
    Rule {
        name: "invoice.created",
        table: INVOICES,
        matches: |op| matches!(op, Op::Insert { .. }),
        at_commit: true,
        resource: ("invoice", &["id"]),
        data: &[
            ("invoice_id", "id"),
            ("invoice_number", "number"),
            ("amount", "total"),
            ("status", "status"),
        ],
    },
    Rule {
        name: "invoice.sent",
        table: INVOICES,
        matches: |op| {
            update(op, |old, new| status(old) != status(new) && status(new) == Some("sent") && positive(new))
        },
        at_commit: true,
        resource: ("invoice", &["id"]),
        data: &[("number", "number"), ("total", "total")],
    },
    Rule {
        name: "invoice.moved",
        table: INVOICES,
        matches: |op| update(op, |old, new| status(old) != status(new)),
        at_commit: false,
        resource: ("invoice", &["id"]),
        data: &[("status", "status")],
    },
    Rule {
        name: "invoice.noted",
        table: INVOICES,
        matches: |op| update(op, |old, new| old[2] != new[2]),
        at_commit: true,
        resource: ("invoice", &["id"]),
        data: &[("number", "number"), ("notes", "notes")],
    },
    Rule {
        name: "invoice.deleted",
        table: INVOICES,
        matches: |op| matches!(op, Op::Delete { .. }),
        at_commit: true,
        resource: ("invoice", &["id"]),
        data: &[("number", "number"), ("status", "status")],
    },
    Rule {
        name: "payment.received",
        table: PAYMENTS,
        matches: |op| matches!(op, Op::Insert { .. }),
        at_commit: false,
        resource: ("invoice", &["invoice_id"]),
        data: &[
            ("id", "id"),
            ("tenant_id", "tenant_id"),
            ("invoice_id", "invoice_id"),
            ("applied_amount", "applied_amount"),
        ],
    },
    Rule {
        name: "client.updated",
        table: CLIENTS,
        matches: |op| matches!(op, Op::Update { .. }),
        at_commit: true,
        resource: ("client", &["tenant_id", "code"]),
        data: &[("code", "code"), ("name", "name"), ("notes", "notes")],
    },
    Rule {
        name: "stock.cleared",
        table: STOCK,
        matches: |op| matches!(op, Op::Truncate { .. }),
        at_commit: true,
        resource: ("stock", &[]),
        data: &[],
    },
];
