//! Backends that get a copy of requests, whose answers nobody waits for.

use crate::{backend_ref::BackendRef, spread::Spread};

#[derive(Debug)]
pub struct Mirror {
    pub backend: BackendRef,
    /// So many of so many requests.
    pub numerator: u32,
    pub denominator: u32,
    turn: Spread,
}

impl Mirror {
    pub fn new(backend: BackendRef, numerator: u32, denominator: u32) -> Self {
        Self {
            backend,
            numerator,
            denominator,
            turn: Spread::default(),
        }
    }

    /// Whether the next request is one of them.
    pub fn takes(&self) -> bool {
        self.turn.next(self.denominator.into()) < self.numerator.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend_ref::PortRef;

    #[test]
    fn a_part_of_the_requests() {
        let backend = BackendRef {
            namespace: "x".to_owned(),
            service: "web".to_owned(),
            port: PortRef::Number(80),
        };
        for (numerator, expected) in [(0, 0..=0), (20, 195..=205), (100, 1000..=1000)] {
            let mirror = Mirror::new(backend.clone(), numerator, 100);
            let count = (0..1000).filter(|_| mirror.takes()).count();
            assert!(expected.contains(&count), "{numerator}: {count}");
        }
    }
}
