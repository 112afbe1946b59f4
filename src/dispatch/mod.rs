//! When: lanes, order, retries, breaker, limits. Knows no rows and no sockets.
