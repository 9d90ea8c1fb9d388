//! Every built-in kind: defaults, validation, strategy, table columns, schemas, OpenAPI
