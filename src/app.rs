//! The one place where the stages meet: wiring and shutdown order.
