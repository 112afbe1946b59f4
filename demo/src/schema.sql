-- A small ERP of the demonstration's own, with the tables, columns and row-level security of the ERP that the pack
-- config/gestiqcloud.toml is made for.

CREATE TABLE clients (
    id uuid PRIMARY KEY, name varchar, tax_id varchar, email varchar, phone varchar, address varchar, city varchar,
    state varchar, country varchar, postal_code varchar, tenant_id uuid
);
CREATE TABLE invoices (
    id uuid PRIMARY KEY, number varchar, supplier varchar, issue_date varchar, amount float, status varchar,
    created_at varchar DEFAULT now(), tenant_id uuid, customer_id uuid REFERENCES clients, subtotal float, vat float,
    total float
);
CREATE TABLE sales_orders (
    id uuid PRIMARY KEY, tenant_id uuid, number varchar(50), customer_id uuid REFERENCES clients, pos_receipt_id uuid,
    order_date date, required_date date, subtotal numeric(12,2), tax numeric(12,2), total numeric(12,2),
    currency varchar(3), status varchar(20) DEFAULT 'draft', notes text,
    created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now()
);
CREATE TABLE payments (
    id uuid PRIMARY KEY, tenant_id uuid, bank_tx_id uuid, invoice_id uuid REFERENCES invoices, date date,
    applied_amount float, notes varchar
);
CREATE TABLE purchases (
    id uuid PRIMARY KEY, tenant_id uuid, number varchar(50), supplier_id uuid, date date, subtotal numeric(12,2),
    taxes numeric(12,2), total numeric(12,2), status varchar(20) DEFAULT 'draft', notes text, delivery_date date,
    user_id uuid, created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now()
);
CREATE TABLE stock_items (
    id uuid PRIMARY KEY, tenant_id uuid, warehouse_id uuid, product_id uuid, qty numeric, location varchar, lot varchar
);
CREATE TABLE stock_alerts (
    id uuid PRIMARY KEY, tenant_id uuid, product_id uuid, warehouse_id uuid, alert_type varchar(50),
    threshold_config jsonb, current_qty int, threshold_qty int, status varchar(20) DEFAULT 'active',
    assigned_to uuid, diagnosis jsonb, notified_at timestamptz, resolved_at timestamptz,
    created_at timestamptz DEFAULT now()
);

-- As in the ERP: the tenant of the session sees its own rows, and the owner is no exception.
DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['invoices', 'sales_orders', 'payments', 'stock_items', 'stock_alerts'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY own_rows ON %I USING (tenant_id::text = current_setting(''app.tenant_id'', true))', name);
    END LOOP;
END $$;
