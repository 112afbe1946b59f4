-- The archive of finished deliveries (SPEC 7). {schema} is the configured schema, quoted.
CREATE TABLE {schema}.webhook_deliveries (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id text NOT NULL,
    event text NOT NULL,
    payload jsonb NOT NULL,
    target_url text NOT NULL,
    secret text,
    status text NOT NULL DEFAULT 'PENDING',
    attempts integer NOT NULL DEFAULT 0,
    last_error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_webhook_deliveries_tenant_status ON {schema}.webhook_deliveries (tenant_id, status);
CREATE INDEX idx_webhook_deliveries_tenant_event ON {schema}.webhook_deliveries (tenant_id, event);
CREATE INDEX idx_webhook_deliveries_status ON {schema}.webhook_deliveries (status);

ALTER TABLE {schema}.webhook_deliveries ENABLE ROW LEVEL SECURITY;
ALTER TABLE {schema}.webhook_deliveries FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON {schema}.webhook_deliveries
    USING (tenant_id::text = coalesce(
        nullif(current_setting('app.current_tenant_id', true), ''),
        nullif(current_setting('app.tenant_id', true), '')))
    WITH CHECK (tenant_id::text = coalesce(
        nullif(current_setting('app.current_tenant_id', true), ''),
        nullif(current_setting('app.tenant_id', true), '')));
COMMENT ON COLUMN {schema}.webhook_deliveries.secret IS 'Kept for old readers; always null';
