-- Where subscriptions live (SPEC 7). {schema} is the configured schema, quoted.
CREATE TABLE {schema}.webhook_subscriptions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id text NOT NULL,
    event text NOT NULL,
    url text NOT NULL,
    secret text,
    active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    options jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX idx_webhook_subscriptions_tenant_event ON {schema}.webhook_subscriptions (tenant_id, event);
CREATE INDEX idx_webhook_subscriptions_active ON {schema}.webhook_subscriptions (active);
-- A long value that an update leaves alone is not sent anew; the old row has it. Few rows, few writes.
ALTER TABLE {schema}.webhook_subscriptions REPLICA IDENTITY FULL;

ALTER TABLE {schema}.webhook_subscriptions ENABLE ROW LEVEL SECURITY;
ALTER TABLE {schema}.webhook_subscriptions FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON {schema}.webhook_subscriptions
    USING (tenant_id::text = coalesce(
        nullif(current_setting('app.current_tenant_id', true), ''),
        nullif(current_setting('app.tenant_id', true), '')))
    WITH CHECK (tenant_id::text = coalesce(
        nullif(current_setting('app.current_tenant_id', true), ''),
        nullif(current_setting('app.tenant_id', true), '')));
COMMENT ON TABLE {schema}.webhook_subscriptions IS
    'Webhook subscriptions: written by the API and by SQL, followed through logical replication';
