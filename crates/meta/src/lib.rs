//! Kubernetes object machinery: Status errors, quantities, selectors, names, field paths, patches
