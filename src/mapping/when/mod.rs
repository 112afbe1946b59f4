//! Purpose: conditions: grammar, evaluation, values that compare as in Postgres. Must not: depend on rules.
pub(in crate::mapping) mod condition;
pub(in crate::mapping) mod decimal;
pub(in crate::mapping) mod evaluate;
pub(in crate::mapping) mod expression;
pub(in crate::mapping) mod hint;
pub(in crate::mapping) mod names;
pub(in crate::mapping) mod value;
