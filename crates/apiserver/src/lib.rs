//! The API server: HTTP, authentication, authorization, admission, REST verbs, watch cache
