//! Header values that the API of an earlier version left in the clear in `webhook_subscriptions`: finds them and replaces
//! them. Must not depend on ciphers.
use super::error::PgError;
use super::name::TableName;
use super::session::Session;
use crate::domain::{SubscriptionId, TenantId};
use serde_json::Value;

/// Rows that one start looks at.
const MOST: i64 = 10_000;

/// A row of the API's with a clear value among its headers.
#[derive(Debug, Clone)]
pub struct ClearRow {
    /// Primary key.
    pub id: SubscriptionId,
    /// Whose.
    pub tenant: TenantId,
    /// `options.headers`, an object. May hold clear credentials: not to be logged.
    pub headers: Value,
}

/// The rows with a sealed secret, which only the API writes, and a clear header: read with the streaming role, which sees the
/// rows of all tenants. What SQL wrote in the clear is the ERP's own affair, as a secret is.
pub async fn clear(session: &Session, schema: &str) -> Result<Vec<ClearRow>, PgError> {
    let sql = format!(
        "SELECT id, tenant_id::text, options->'headers' FROM {table}
         WHERE secret LIKE 'sealed:%' AND EXISTS (
             SELECT FROM jsonb_each_text(CASE jsonb_typeof(options->'headers') WHEN 'object' THEN options->'headers' END) AS header
             WHERE header.value NOT LIKE 'sealed:%')
         ORDER BY id LIMIT {MOST}",
        table = TableName::subscriptions(schema).quoted()
    );
    let rows = session.client().query(&sql, &[]).await?;
    let row = |row: &tokio_postgres::Row| ClearRow {
        id: SubscriptionId(row.get(0)),
        tenant: TenantId::new(row.get::<_, &str>(1)),
        headers: row.get(2),
    };
    Ok(rows.iter().map(row).collect())
}

/// Replaces the headers of one row, if they are still what they were; with the API's role, under row-level security. False:
/// they are not, or the role does not see the row.
pub async fn replace(
    session: &mut Session,
    schema: &str,
    row: &ClearRow,
    sealed: &Value,
) -> Result<bool, PgError> {
    let transaction = super::subscriptions::begin(session, &row.tenant).await?;
    let sql = format!(
        "UPDATE {} SET options = jsonb_set(options, '{{headers}}', $1)
         WHERE id = $2 AND tenant_id = $3 AND options->'headers' = $4",
        TableName::subscriptions(schema).quoted()
    );
    let tenant = row.tenant.as_str();
    let changed = transaction.execute(&sql, &[sealed, &row.id.0, &tenant, &row.headers]).await?;
    transaction.commit().await?;
    Ok(changed == 1)
}
