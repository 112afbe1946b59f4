//! Commands: arguments in, lines out.
