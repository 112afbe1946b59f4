//! Does a role see every row of a table? A hidden row would be a missing memory (SPEC 7). Knows row-level security only.
use super::error::PgError;
use super::name::TableName;
use tokio_postgres::Client;

/// How the connected role sees a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// No policy applies: `row_security = off` proves it.
    Whole,
    /// Row-level security applies, and a policy `USING (true)` opens every row; nothing restricts it.
    ByPolicy,
    /// Rows may be hidden.
    Partial,
}

const SIGHT: &str = "
SELECT NOT c.relrowsecurity
       OR r.rolsuper OR r.rolbypassrls
       OR (NOT c.relforcerowsecurity AND pg_has_role(r.oid, c.relowner, 'USAGE')) AS whole,
       EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polpermissive AND p.polcmd IN ('r', '*')
               AND pg_get_expr(p.polqual, p.polrelid) = 'true'
               AND EXISTS (SELECT FROM unnest(p.polroles) AS role
                           WHERE role = 0 OR pg_has_role(r.oid, role, 'USAGE')))
       AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND NOT p.polpermissive
               AND p.polcmd IN ('r', '*')) AS opened
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, pg_roles r
WHERE n.nspname = $1 AND c.relname = $2 AND r.rolname = current_user";

/// How the connected role sees a table; `None`: there is no such table.
pub async fn sight(client: &Client, table: &TableName) -> Result<Option<Sight>, PgError> {
    let row = client.query_opt(SIGHT, &[&table.schema, &table.name]).await?;
    Ok(row.map(|row| match (row.get(0), row.get(1)) {
        (true, _) => Sight::Whole,
        (false, true) => Sight::ByPolicy,
        (false, false) => Sight::Partial,
    }))
}

/// What mends a partial sight.
pub fn remedy(table: &TableName, role: &str) -> String {
    let role = super::name::quote(role);
    format!(
        "ALTER ROLE {role} BYPASSRLS; -- or: CREATE POLICY tailhook_streaming ON {} FOR SELECT TO {role} USING (true);",
        table.quoted()
    )
}
