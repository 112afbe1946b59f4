-- The ground truth: in the same transaction as each change, a trigger writes which event must come of it, and the state
-- that the event must carry, under the names that the pack gives them. Knows nothing else of the mapping.

CREATE SCHEMA audit;
GRANT USAGE ON SCHEMA audit TO erp;
CREATE TABLE audit.facts (
    number bigserial PRIMARY KEY,
    transaction xid8 NOT NULL DEFAULT pg_current_xact_id(),
    event text NOT NULL,
    tenant text NOT NULL,
    resource text NOT NULL,
    state jsonb NOT NULL,
    -- However often a row changes in a transaction, an event of it comes once.
    UNIQUE (transaction, event, resource)
);
GRANT SELECT ON audit.facts TO erp;

CREATE FUNCTION audit.note(due text, tenant uuid, resource uuid, final jsonb) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO audit.facts (event, tenant, resource, state) VALUES (due, tenant::text, resource::text, final)
    ON CONFLICT (transaction, event, resource) DO NOTHING;
$$;
-- The payload is the row as it stands at commit: every change of the row renews the state of what is already due.
CREATE FUNCTION audit.renew(changed uuid, final jsonb) RETURNS void
LANGUAGE sql AS $$
    UPDATE audit.facts SET state = final
    WHERE transaction = pg_current_xact_id() AND resource = changed::text AND state IS DISTINCT FROM final;
$$;

CREATE FUNCTION audit.clients() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE final jsonb := jsonb_build_object('customer_id', new.id, 'name', new.name, 'phone', new.phone);
BEGIN
    PERFORM audit.note(CASE tg_op WHEN 'INSERT' THEN 'customer.created' ELSE 'customer.updated' END,
                       new.tenant_id, new.id, final);
    PERFORM audit.renew(new.id, final);
    RETURN NULL;
END $$;

CREATE FUNCTION audit.invoices() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE final jsonb := jsonb_build_object('status', new.status, 'invoice_number', new.number, 'amount', new.total);
BEGIN
    IF tg_op = 'INSERT' THEN
        PERFORM audit.note('invoice.created', new.tenant_id, new.id, final);
    ELSIF new.status IS DISTINCT FROM old.status AND new.status IN ('sent', 'authorized', 'rejected', 'cancelled') THEN
        PERFORM audit.note('invoice.' || new.status, new.tenant_id, new.id, final);
    END IF;
    PERFORM audit.renew(new.id, final);
    RETURN NULL;
END $$;

CREATE FUNCTION audit.sales_orders() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE final jsonb := jsonb_build_object('status', new.status, 'amount', new.total);
BEGIN
    IF tg_op = 'INSERT' THEN
        PERFORM audit.note('sales_order.created', new.tenant_id, new.id, final);
    ELSIF new.status IS DISTINCT FROM old.status AND new.status IN ('confirmed', 'cancelled') THEN
        PERFORM audit.note('sales_order.' || new.status, new.tenant_id, new.id, final);
    END IF;
    PERFORM audit.renew(new.id, final);
    RETURN NULL;
END $$;

CREATE FUNCTION audit.payments() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    PERFORM audit.note('payment.received', new.tenant_id, new.id, 
        jsonb_build_object('invoice_id', new.invoice_id, 'amount', new.applied_amount, 'date', new.date));
    RETURN NULL;
END $$;

CREATE FUNCTION audit.purchases() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    PERFORM audit.note('purchase_order.created', new.tenant_id, new.id, 
        jsonb_build_object('amount', new.total, 'supplier_id', new.supplier_id));
    RETURN NULL;
END $$;

CREATE FUNCTION audit.stock_items() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF new.qty IS DISTINCT FROM old.qty THEN
        PERFORM audit.note('inventory.updated', new.tenant_id, new.id, jsonb_build_object('qty', new.qty));
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION audit.stock_alerts() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    PERFORM audit.note('inventory.low', new.tenant_id, new.id,
        jsonb_build_object('status', new.status, 'current_qty', new.current_qty));
    RETURN NULL;
END $$;

CREATE TRIGGER audit AFTER INSERT OR UPDATE ON clients FOR EACH ROW EXECUTE FUNCTION audit.clients();
CREATE TRIGGER audit AFTER INSERT OR UPDATE ON invoices FOR EACH ROW EXECUTE FUNCTION audit.invoices();
CREATE TRIGGER audit AFTER INSERT OR UPDATE ON sales_orders FOR EACH ROW EXECUTE FUNCTION audit.sales_orders();
CREATE TRIGGER audit AFTER INSERT ON payments FOR EACH ROW EXECUTE FUNCTION audit.payments();
CREATE TRIGGER audit AFTER INSERT ON purchases FOR EACH ROW EXECUTE FUNCTION audit.purchases();
CREATE TRIGGER audit AFTER UPDATE ON stock_items FOR EACH ROW EXECUTE FUNCTION audit.stock_items();
CREATE TRIGGER audit AFTER INSERT ON stock_alerts FOR EACH ROW EXECUTE FUNCTION audit.stock_alerts();
