//! The configuration file. Knows how it is written, not what is done with it.
