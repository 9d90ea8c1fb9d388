//! CRI protocol types and the client that dials a runtime's socket
