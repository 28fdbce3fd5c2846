"""The only SQL: one file per table family, plain functions over a transaction."""
