//! Where pods go: scenarios that a person reads, and generated clusters beside upstream's own scheduler.

mod cases;
mod golden;
mod objects;
mod oracle;
mod scenario;
mod upstream;
