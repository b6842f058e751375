//! The functions of PostgreSQL that do more than read. Uses: nothing.
