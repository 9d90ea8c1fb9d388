//! Whether the requests of a pod can all have as many devices as they want, looking at nothing but which devices each selects.
//!
//! A search that goes back from a request without a device tries every choice for the requests before it, and there may be more of
//! those than anybody waits for. So it asks here first, once: devices are given to requests, and taken back where another one serves
//! as well (augmenting paths); where that ends with a request that lacks one, no choice will do. What constraints, counters and
//! shares rule out besides is left to the search.

use crate::{
    allocator::{Allocator, Which},
    budget::Budget,
    candidate::Candidate,
    request::{Alternative, Wanted},
    taints,
};

/// How often a device is looked at for a request: milliseconds. What is longer is left to the search.
const MAX_LOOKS: usize = 200_000;

/// A request that takes devices for itself.
struct Demand {
    which: Vec<Which>,
    /// The least that one of its alternatives wants.
    count: usize,
    /// Of each candidate, whether it may have it; found out when it is asked for.
    may_have: Vec<Option<bool>>,
}

struct Matching<'m> {
    allocator: &'m Allocator,
    candidates: &'m [Candidate<'m>],
    budget: &'m Budget,
    demands: Vec<Demand>,
    /// Who has a candidate.
    holders: Vec<Option<usize>>,
    looks: usize,
}

/// Nobody knows: it would take too long.
struct Unknown;

/// Whether there may be a solution. `count` says how many devices an alternative wants.
pub(crate) fn is_possible(
    allocator: &Allocator,
    candidates: &[Candidate<'_>],
    count: impl Fn(Which) -> usize,
    budget: &Budget,
) -> bool {
    let mut matching = Matching {
        allocator,
        candidates,
        budget,
        demands: demands(allocator, count),
        holders: vec![None; candidates.len()],
        looks: 0,
    };
    matching.satisfies_all().unwrap_or(true)
}

fn demands(allocator: &Allocator, count: impl Fn(Which) -> usize) -> Vec<Demand> {
    let mut demands = Vec::new();
    for (claim, wanting) in allocator.wanting().iter().enumerate() {
        for (request, of) in wanting.requests.iter().enumerate() {
            // An administrator takes nothing from others.
            if of.alternatives.iter().any(|one| one.admin_access) {
                continue;
            }
            let which = (0..of.alternatives.len()).map(|alternative| Which {
                claim,
                request,
                alternative,
            });
            let which: Vec<Which> = which.collect();
            demands.push(Demand {
                count: which.iter().map(|one| count(*one)).min().unwrap_or(0),
                which,
                may_have: Vec::new(),
            });
        }
    }
    demands
}

impl Matching<'_> {
    fn satisfies_all(&mut self) -> Result<bool, Unknown> {
        for demand in 0..self.demands.len() {
            for _ in 0..self.demands[demand].count {
                let mut visited = vec![false; self.candidates.len()];
                if !self.satisfies(demand, &mut visited)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Gives a demand one more device; it nests once for each device that is given to somebody else.
    fn satisfies(&mut self, demand: usize, visited: &mut [bool]) -> Result<bool, Unknown> {
        for place in 0..self.candidates.len() {
            self.look()?;
            if visited[place] || !self.may_have(demand, place)? {
                continue;
            }
            visited[place] = true;
            // There is enough of it for all, as far as is known here.
            if self.candidates[place].device.is_shared {
                return Ok(true);
            }
            let is_free = match self.holders[place] {
                None => true,
                Some(holder) if holder == demand => false,
                Some(holder) => self.satisfies(holder, visited)?,
            };
            if is_free {
                self.holders[place] = Some(demand);
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn look(&mut self) -> Result<(), Unknown> {
        self.looks = self.looks.saturating_add(1);
        match self.looks <= MAX_LOOKS {
            true => Ok(()),
            false => Err(Unknown),
        }
    }

    fn may_have(&mut self, demand: usize, place: usize) -> Result<bool, Unknown> {
        let known = self.demands[demand].may_have.get(place);
        if let Some(known) = known.copied().flatten() {
            return Ok(known);
        }
        let mut may_have = false;
        for at in 0..self.demands[demand].which.len() {
            self.look()?;
            may_have |= self.selects(self.demands[demand].which[at], place)?;
        }
        let count = self.candidates.len();
        let known = &mut self.demands[demand].may_have;
        known.resize(count, None);
        known[place] = Some(may_have);
        Ok(may_have)
    }

    fn selects(&self, which: Which, place: usize) -> Result<bool, Unknown> {
        let Candidate { slice, device, .. } = self.candidates[place];
        let alternative: &Alternative = self.allocator.alternative(which);
        let tolerations = alternative.tolerations.as_deref().unwrap_or_default();
        let mut device_taints = device.taints.iter();
        if self.allocator.usage().is_dedicated(&device.id)
            || device_taints.any(|taint| taints::prevents(taint, tolerations))
        {
            return Ok(false);
        }
        // Every device that there is: whether they are free shows when they are taken.
        if alternative.wanted == Wanted::All {
            return Ok(true);
        }
        let selects = self.allocator.selects(which, slice, device, self.budget);
        // One that fails is told by the search.
        selects.map_err(|_| Unknown)
    }
}
