//! People and machines looking in: API, health, metrics. Knows no socket of the source and no attempt.
