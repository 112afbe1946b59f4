-- The ERP, and beside it the ground truth: in the same transaction as each change a trigger writes which event must come of
-- it, in which turn of its resource, and what its body must say.
CREATE ROLE tailhook LOGIN REPLICATION BYPASSRLS PASSWORD 'pw';
CREATE TABLE orders (
    id uuid PRIMARY KEY, tenant_id uuid NOT NULL, nth int NOT NULL DEFAULT 1, status varchar NOT NULL DEFAULT 'draft',
    amount numeric(12, 2), notes text, spare_a int, spare_b int
);
-- no event comes of it
CREATE TABLE noise (number int);
GRANT SELECT ON orders TO tailhook;

CREATE SCHEMA audit;
CREATE TABLE audit.owed (
    number bigserial PRIMARY KEY,
    transaction xid8 NOT NULL DEFAULT pg_current_xact_id(),
    event text NOT NULL,
    tenant text NOT NULL,
    resource text NOT NULL,
    turn int NOT NULL,
    state jsonb NOT NULL,
    -- how often it must come at least
    times int NOT NULL DEFAULT 1,
    -- however often a row changes in a transaction, an event of it comes once
    UNIQUE (transaction, resource, event)
);
-- Updates of one row wait for each other, and each counts `nth` up: so turns are the commit order of a resource.
CREATE FUNCTION audit.state(of orders) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('nth', of.nth, 'status', of.status, 'amount', of.amount, 'notes', of.notes);
$$;
CREATE FUNCTION audit.owe(due text, changed orders, place int) RETURNS void LANGUAGE sql AS $$
    INSERT INTO audit.owed (event, tenant, resource, turn, state)
    VALUES (due, changed.tenant_id, changed.id, place, audit.state(changed))
    ON CONFLICT (transaction, resource, event) DO NOTHING;
$$;
CREATE FUNCTION audit.orders() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF tg_op = 'DELETE' THEN
        PERFORM audit.owe('order.deleted', old, old.nth + 1);
        RETURN NULL;
    END IF;
    IF tg_op = 'INSERT' THEN
        PERFORM audit.owe('order.created', new, new.nth);
    ELSE
        PERFORM audit.owe('order.updated', new, new.nth);
        IF new.status = 'paid' AND old.status <> 'paid' THEN
            PERFORM audit.owe('order.paid', new, new.nth);
        END IF;
    END IF;
    -- the payload is the row as it stands at commit
    UPDATE audit.owed SET turn = new.nth, state = audit.state(new)
    WHERE transaction = pg_current_xact_id() AND resource = new.id::text;
    RETURN NULL;
END $$;
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION audit.orders();
