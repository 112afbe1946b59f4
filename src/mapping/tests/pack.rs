//! The pack for `GestiqCloud`, against the schema that it is written for.
use super::{World, compile, insert, table, update};
use crate::domain::Table;
use std::sync::Arc;

const PACK: &str = include_str!("../../../config/gestiqcloud.toml");

fn schema() -> Vec<Arc<Table>> {
    [
        ("public.invoices", "*id number supplier issue_date amount:float status created_at tenant_id customer_id subtotal:float vat:float total:float"),
        ("public.clients", "*id name tax_id email phone address city state country postal_code tenant_id"),
        ("public.sales_orders", "*id tenant_id number customer_id pos_receipt_id order_date required_date subtotal:numeric tax:numeric total:numeric currency status notes created_at updated_at"),
        ("public.payments", "*id tenant_id bank_tx_id invoice_id date applied_amount:float notes"),
        ("public.purchases", "*id tenant_id number supplier_id date subtotal:numeric taxes:numeric total:numeric status notes"),
        ("public.stock_items", "*id tenant_id warehouse_id product_id qty:numeric location lot"),
        ("public.stock_alerts", "*id tenant_id product_id warehouse_id alert_type threshold_config:json current_qty:int threshold_qty:int status created_at"),
    ]
    .map(|(name, columns)| table(name, columns))
    .to_vec()
}

#[test]
fn it_fits_the_schema() {
    let mapping = compile(PACK).unwrap();
    let schema = schema();
    let find = |name: &str| schema.iter().find(|table| table.full_name() == name).map(|table| &**table);
    assert_eq!(mapping.check(&find), [], "document_files is optional and may be missing");
    let names: Vec<String> = mapping.event_names().iter().map(ToString::to_string).collect();
    assert_eq!(
        names,
        [
            "customer.created",
            "customer.updated",
            "document.updated",
            "inventory.low",
            "inventory.updated",
            "invoice.authorized",
            "invoice.cancelled",
            "invoice.created",
            "invoice.rejected",
            "invoice.sent",
            "payment.received",
            "purchase_order.created",
            "sales_order.cancelled",
            "sales_order.confirmed",
            "sales_order.created",
        ]
    );
    assert_eq!(
        mapping.plan().text(),
        "public.clients: address,city,country,email,id,name,phone,postal_code,state,tax_id,tenant_id\n\
         public.invoices: id,status,tenant_id\n\
         public.sales_orders: id,status,tenant_id\n\
         public.stock_items: id,qty,tenant_id\n"
    );
}

#[test]
fn a_business_day_gives_its_events() {
    let mut world = World::new(PACK);
    let schema = schema();
    let [invoices, clients, orders, payments, purchases, items, alerts] = schema.as_slice() else { panic!() };
    let mut names = Vec::new();
    let mut commit = |changes| {
        names.extend(world.commit(changes).events.iter().map(|event| event.name.as_str().to_owned()));
    };
    commit(vec![insert(clients, r#"1|"Ann"|null|null|null|null|null|null|null|null|"t""#)]);
    commit(vec![update(clients, r#"1|"Ann"|null|null|null|null|null|null|null|null|"t""#)]);
    commit(vec![update(clients, r#"1|"Ann"|null|"a@b"|null|null|null|null|null|null|"t""#)]);
    let invoice = |status: &str| format!(r#"1|"A-1"|null|null|1|"{status}"|null|"t"|1|1|0|1"#);
    commit(vec![insert(invoices, &invoice("draft"))]);
    for status in ["draft", "sent", "sent", "authorized", "einvoice", "rejected", "cancelled", "cancelled"] {
        commit(vec![update(invoices, &invoice(status))]);
    }
    let order = |status: &str| format!(r#"1|"t"|"S"|1|null|null|null|1|0|1|"EUR"|"{status}"|null|null|null"#);
    commit(vec![insert(orders, &order("draft"))]);
    commit(vec![update(orders, &order("confirmed")), update(orders, &order("cancelled"))]);
    commit(vec![insert(payments, r#"1|"t"|null|1|null|1|null"#)]);
    commit(vec![insert(purchases, r#"1|"t"|"P"|1|null|1|0|1|"draft"|null"#)]);
    commit(vec![insert(items, r#"1|"t"|1|1|5|null|null"#)]);
    commit(vec![update(items, r#"1|"t"|1|1|5.00|"shelf"|null"#)]);
    commit(vec![update(items, r#"1|"t"|1|1|4|"shelf"|null"#)]);
    for status in [r#""active""#, r#""resolved""#, "null", r#""Open""#] {
        commit(vec![insert(alerts, &format!(r#"{}|"t"|1|1|"low"|null|1|5|{status}|null"#, status.len()))]);
    }
    assert_eq!(
        names,
        [
            "customer.created",
            "customer.updated",
            "invoice.created",
            "invoice.sent",
            "invoice.authorized",
            "invoice.rejected",
            "invoice.cancelled",
            "sales_order.created",
            "sales_order.confirmed",
            "sales_order.cancelled",
            "payment.received",
            "purchase_order.created",
            "inventory.updated",
            "inventory.updated",
            "inventory.low",
            "inventory.low",
            "inventory.low",
        ]
    );
}
