//! One tenant's business: what it has, and what it does next, as SQL. Pure but for the chance handed in; knows no
//! connection and no event: which events must come is for the audit trigger to say.
use crate::random::Random;
use uuid::Uuid;

/// A tenant.
#[derive(Debug, Clone)]
pub(crate) struct Shop {
    /// Its id.
    pub(crate) tenant: Uuid,
    /// Its name, for the screen.
    pub(crate) name: &'static str,
    random: Random,
    number: u32,
    customers: Vec<Uuid>,
    drafts: Vec<Uuid>,
    sent: Vec<Uuid>,
    orders: Vec<Uuid>,
    items: Vec<Item>,
}

/// Something on a shelf.
#[derive(Debug, Clone)]
struct Item {
    id: Uuid,
    product: Uuid,
    warehouse: Uuid,
    quantity: i64,
    alert: Option<Uuid>,
}

/// Below this many an alert is due.
const THRESHOLD: i64 = 10;
/// What is remembered of each kind; the database keeps the rest.
const REMEMBERED: usize = 200;
const NAMES: &[&str] = &[
    "Ana Ruiz",
    "Luis Gómez",
    "Talleres Paco",
    "O''Brien & Co",
    "Müller GmbH",
    "株式会社青空",
    "Café \"Eñe\"",
];
const CITIES: &[&str] = &["Sevilla", "Bilbao", "A Coruña", "Málaga", "Lleida"];

/// One transaction.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The statements between BEGIN and the end.
    pub(crate) statements: Vec<String>,
    /// Whether it is committed; otherwise rolled back.
    pub(crate) commit: bool,
}

impl Shop {
    /// A tenant with some stock, customers and drafts that were there before; `statements` make them.
    pub(crate) fn open(name: &'static str, seed: u64) -> (Self, Vec<String>) {
        let mut random = Random::new(seed);
        let mut shop = Self {
            tenant: random.uuid(),
            name,
            random,
            number: 0,
            customers: Vec::new(),
            drafts: Vec::new(),
            sent: Vec::new(),
            orders: Vec::new(),
            items: Vec::new(),
        };
        let mut statements = Vec::new();
        for _ in 0..2 {
            statements.extend(shop.new_customer());
            statements.extend(shop.new_invoice());
            statements.extend(shop.new_order());
            let item = Item {
                id: shop.random.uuid(),
                product: shop.random.uuid(),
                warehouse: shop.random.uuid(),
                quantity: 16,
                alert: None,
            };
            statements.push(format!(
                "INSERT INTO stock_items (id, tenant_id, warehouse_id, product_id, qty, location) \
                 VALUES ('{}', '{}', '{}', '{}', {}, 'A-1')",
                item.id, shop.tenant, item.warehouse, item.product, item.quantity
            ));
            shop.items.push(item);
        }
        (shop, statements)
    }
    /// What happens next. Now and then the ERP changes its mind and rolls back.
    pub(crate) fn next(&mut self) -> Plan {
        let before = self.clone();
        let statements = match self.random.below(100) {
            0..10 => self.new_customer(),
            10..16 => self.change_customer(),
            16..30 => self.new_invoice(),
            30..36 => self.invoice_in_steps(),
            36..40 => self.invoice_at_once(),
            40..52 => self.send_invoice(),
            52..64 => self.end_invoice(),
            64..68 => self.touch_invoice(),
            68..74 => self.pay(),
            74..80 => self.new_order(),
            80..85 => self.end_order(),
            85..95 => self.sell(),
            95..97 => self.restock(),
            _ => self.purchase(),
        };
        let commit = !self.random.percent(8);
        if !commit {
            let (random, number) = (self.random.clone(), self.number);
            *self = Self { random, number, ..before };
        }
        Plan { statements, commit }
    }
    /// How long it rests before the next.
    pub(crate) fn pause(&mut self) -> std::time::Duration {
        std::time::Duration::from_millis(20 + self.random.number() % 160)
    }
    fn new_customer(&mut self) -> Vec<String> {
        let (id, name, city) = (self.random.uuid(), self.one_of(NAMES), self.one_of(CITIES));
        remember(&mut self.customers, id);
        vec![format!(
            "INSERT INTO clients (id, name, tax_id, email, phone, city, country, tenant_id) \
             VALUES ('{id}', '{name}', 'B{:08}', 'mail@example.com', '600{:06}', '{city}', 'ES', '{}')",
            self.random.below(100_000_000),
            self.random.below(1_000_000),
            self.tenant
        )]
    }
    fn change_customer(&mut self) -> Vec<String> {
        let Some(&id) = self.random.pick(&self.customers) else { return self.new_customer() };
        self.number += 1;
        vec![format!("UPDATE clients SET phone = '700{:06}' WHERE id = '{id}'", self.number)]
    }
    fn new_invoice(&mut self) -> Vec<String> {
        let id = self.random.uuid();
        remember(&mut self.drafts, id);
        let ((number, amount), customer) = (self.number_and_amount(), self.customer());
        vec![format!(
            "INSERT INTO invoices (id, number, supplier, issue_date, amount, status, tenant_id, customer_id, subtotal, vat, \
             total) VALUES ('{id}', 'F-{number:05}', 'own', '2026-02-14', {amount}, 'draft', '{}', {customer}, {amount}, \
             {amount} * 0.21, {amount} * 1.21)",
            self.tenant
        )]
    }
    /// As a real ERP does it: five updates of the new row, number and totals null at first.
    fn invoice_in_steps(&mut self) -> Vec<String> {
        let id = self.random.uuid();
        remember(&mut self.drafts, id);
        let (number, amount) = self.number_and_amount();
        let set = |what: String| format!("UPDATE invoices SET {what} WHERE id = '{id}'");
        vec![
            format!(
                "INSERT INTO invoices (id, status, tenant_id) VALUES ('{id}', 'draft', '{}')",
                self.tenant
            ),
            set(format!("customer_id = {}", self.customer())),
            set(format!("subtotal = {amount}")),
            set(format!("vat = {amount} * 0.21")),
            set("total = subtotal + vat, amount = subtotal + vat".to_owned()),
            set(format!("number = 'F-{number:05}', issue_date = '2026-02-14'")),
        ]
    }
    /// Drafted, sent and authorized in one transaction.
    fn invoice_at_once(&mut self) -> Vec<String> {
        let mut statements = self.new_invoice();
        if let Some(id) = self.drafts.pop() {
            statements.push(set_invoice_status(id, "sent"));
            statements.push(set_invoice_status(id, "authorized"));
        }
        statements
    }
    fn send_invoice(&mut self) -> Vec<String> {
        let Some(id) = take(&mut self.drafts, &mut self.random) else { return self.new_invoice() };
        if self.random.percent(10) {
            return vec![set_invoice_status(id, "cancelled")];
        }
        remember(&mut self.sent, id);
        vec![set_invoice_status(id, "sent")]
    }
    fn end_invoice(&mut self) -> Vec<String> {
        let Some(id) = take(&mut self.sent, &mut self.random) else { return self.send_invoice() };
        let end = match self.random.below(10) {
            0..7 => "authorized",
            7..9 => "rejected",
            _ => "cancelled",
        };
        vec![set_invoice_status(id, end)]
    }
    /// A change that is no transition: a sent invoice stays sent.
    fn touch_invoice(&mut self) -> Vec<String> {
        let Some(&id) = self.random.pick(&self.sent) else { return self.send_invoice() };
        vec![format!(
            "UPDATE invoices SET supplier = 'own', status = 'sent', amount = amount + 1 WHERE id = '{id}'"
        )]
    }
    fn pay(&mut self) -> Vec<String> {
        let Some(&invoice) = self.random.pick(&self.sent) else { return self.send_invoice() };
        let (id, (_, amount)) = (self.random.uuid(), self.number_and_amount());
        vec![format!(
            "INSERT INTO payments (id, tenant_id, invoice_id, date, applied_amount, notes) \
             VALUES ('{id}', '{}', '{invoice}', '2026-02-14', {amount}, 'transfer')",
            self.tenant
        )]
    }
    fn new_order(&mut self) -> Vec<String> {
        let id = self.random.uuid();
        remember(&mut self.orders, id);
        let ((number, amount), customer) = (self.number_and_amount(), self.customer());
        vec![format!(
            "INSERT INTO sales_orders (id, tenant_id, number, customer_id, order_date, subtotal, tax, total, currency) \
             VALUES ('{id}', '{}', 'P-{number:05}', {customer}, '2026-02-14', {amount}, {amount} * 0.21, {amount} * 1.21, 'EUR')",
            self.tenant
        )]
    }
    fn end_order(&mut self) -> Vec<String> {
        let Some(id) = take(&mut self.orders, &mut self.random) else { return self.new_order() };
        let end = if self.random.percent(75) { "confirmed" } else { "cancelled" };
        vec![format!("UPDATE sales_orders SET status = '{end}', updated_at = now() WHERE id = '{id}'")]
    }
    /// Stock falls; below the threshold an alert is due, once.
    fn sell(&mut self) -> Vec<String> {
        let (at, sold, alert) =
            (self.random.below(self.items.len()), 1 + self.random.below(6), self.random.uuid());
        let tenant = self.tenant;
        let Some(item) = self.items.get_mut(at).filter(|item| item.quantity > 6) else {
            return self.restock();
        };
        item.quantity -= sold as i64;
        let mut statements =
            vec![format!("UPDATE stock_items SET qty = {} WHERE id = '{}'", item.quantity, item.id)];
        if item.quantity < THRESHOLD && item.alert.is_none() {
            item.alert = Some(alert);
            statements.push(format!(
                "INSERT INTO stock_alerts (id, tenant_id, product_id, warehouse_id, alert_type, threshold_config, \
                 current_qty, threshold_qty, status) VALUES ('{alert}', '{tenant}', '{}', '{}', 'low_stock', \
                 '{{\"min\": {THRESHOLD}}}', {}, {THRESHOLD}, 'active')",
                item.product, item.warehouse, item.quantity
            ));
        }
        statements
    }
    fn restock(&mut self) -> Vec<String> {
        let at = self.random.below(self.items.len());
        let Some(item) = self.items.get_mut(at) else { return Vec::new() };
        item.quantity += 12;
        let mut statements =
            vec![format!("UPDATE stock_items SET qty = {} WHERE id = '{}'", item.quantity, item.id)];
        if let Some(alert) = item.alert.take() {
            statements.push(format!(
                "UPDATE stock_alerts SET status = 'resolved', resolved_at = now() WHERE id = '{alert}'"
            ));
        }
        statements
    }
    fn purchase(&mut self) -> Vec<String> {
        let (id, supplier, (number, amount)) =
            (self.random.uuid(), self.random.uuid(), self.number_and_amount());
        vec![format!(
            "INSERT INTO purchases (id, tenant_id, number, supplier_id, date, subtotal, taxes, total) \
             VALUES ('{id}', '{}', 'C-{number:05}', '{supplier}', '2026-02-14', {amount}, {amount} * 0.21, {amount} * 1.21)",
            self.tenant
        )]
    }
    fn number_and_amount(&mut self) -> (u32, String) {
        self.number += 1;
        let cents = 100 + self.random.below(500_000);
        (self.number, format!("{}.{:02}", cents / 100, cents % 100))
    }
    fn customer(&mut self) -> String {
        self.random.pick(&self.customers).map_or_else(|| "NULL".to_owned(), |id| format!("'{id}'"))
    }
    fn one_of(&mut self, words: &[&'static str]) -> &'static str {
        self.random.pick(words).copied().unwrap_or_default()
    }
}

fn set_invoice_status(id: Uuid, status: &str) -> String {
    format!("UPDATE invoices SET status = '{status}' WHERE id = '{id}'")
}

fn remember(list: &mut Vec<Uuid>, id: Uuid) {
    if list.len() >= REMEMBERED {
        list.remove(0);
    }
    list.push(id);
}

fn take(list: &mut Vec<Uuid>, random: &mut Random) -> Option<Uuid> {
    (!list.is_empty()).then(|| list.swap_remove(random.below(list.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_is_one_day_and_every_kind_of_business_is_in_it() {
        let day = |seed| {
            let (mut shop, _) = Shop::open("x", seed);
            (0..2000).map(|_| shop.next()).collect::<Vec<_>>()
        };
        let plans = day(1);
        assert_eq!(format!("{plans:?}"), format!("{:?}", day(1)));
        let has = |what: &str, commit: bool| {
            plans
                .iter()
                .any(|plan| plan.commit == commit && plan.statements.iter().any(|sql| sql.contains(what)))
        };
        for what in [
            "INTO clients",
            "UPDATE clients",
            "INTO invoices",
            "'sent'",
            "'authorized'",
            "'rejected'",
            "'cancelled'",
            "INTO payments",
            "INTO sales_orders",
            "'confirmed'",
            "INTO purchases",
            "UPDATE stock_items",
            "INTO stock_alerts",
            "'resolved'",
            "vat =",
        ] {
            assert!(has(what, true), "{what} is never committed");
        }
        assert!(has("INTO invoices", false) && has("'sent'", false), "nothing is rolled back");
        assert!(plans.iter().all(|plan| !plan.statements.is_empty()));
    }

    #[test]
    fn what_is_rolled_back_is_forgotten() {
        let (mut shop, _) = Shop::open("x", 3);
        for _ in 0..500 {
            let before = format!("{:?}{:?}{:?}", shop.drafts, shop.sent, shop.items);
            if !shop.next().commit {
                assert_eq!(before, format!("{:?}{:?}{:?}", shop.drafts, shop.sent, shop.items));
            }
        }
    }
}
