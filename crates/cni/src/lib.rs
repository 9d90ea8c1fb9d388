//! CNI protocol types, the client that runs plugins, and the built-in routed plugin
