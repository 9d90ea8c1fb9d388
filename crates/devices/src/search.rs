//! The search for devices: one claim, one request, one device after the other, back where there is no way on.
//!
//! It ends with the first solution. All choices are tried in the worst case, which no user may make the scheduler wait for: each
//! device that is tried is a step of a [`Budget`].

use std::collections::HashMap;

use k8s_openapi::api::core::v1::Node;

use crate::{
    MAX_DEVICES, MAX_DEVICES_TOGETHER,
    allocator::{Allocator, Error, Which, within},
    budget::Budget,
    candidate::Candidate,
    capacity,
    constraints::Constraint,
    counters::Counters,
    feasible,
    inventory::Device,
    pools::{self, Pool, State},
    request::{Alternative, Wanted},
    taints,
    usage::{Amounts, DeviceId, Sharing},
};

/// A device that was chosen.
pub(crate) struct Pick<'s> {
    pub which: Which,
    pub candidate: Candidate<'s>,
    /// What it takes of a device that is shared.
    pub share: Option<Amounts>,
}

/// What came of a part of the search.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Yes,
    No,
    /// The claim would have more devices than it may.
    TooMany,
    /// No other choice helps.
    Never,
}

/// What has to be undone of a choice.
#[derive(Default)]
struct Done {
    counters: bool,
    constraints: usize,
    dedicated: bool,
    share: Option<Amounts>,
}

/// A search under way.
pub(crate) struct Search<'s> {
    allocator: &'s Allocator,
    budget: &'s mut Budget,
    pools: Vec<Pool<'s>>,
    candidates: Vec<Candidate<'s>>,
    /// Places of candidates, of alternatives that want every device.
    all: HashMap<Which, Vec<usize>>,
    /// Claims that have all of a device.
    dedicated: HashMap<&'s DeviceId, Vec<usize>>,
    sharing: HashMap<&'s DeviceId, Sharing>,
    counters: Counters<'s>,
    constraints: Vec<Vec<Constraint<'s>>>,
    /// By claim.
    pub picks: Vec<Vec<Pick<'s>>>,
    /// The alternatives of prioritized requests that were taken.
    pub taken: HashMap<(usize, usize), usize>,
    /// It is known that there may be a solution.
    is_possible: bool,
}

impl<'s> Search<'s> {
    /// # Errors
    /// Where it is known before that there is no solution, and why.
    pub fn new(
        allocator: &'s Allocator,
        node: &Node,
        budget: &'s mut Budget,
    ) -> Result<Self, Error> {
        let pools = pools::gather(allocator.inventory(), node);
        let mut candidates = Vec::new();
        for (place, pool) in pools.iter().enumerate() {
            if pool.state != State::Usable {
                continue;
            }
            for slice in pool.slices.iter().copied() {
                let devices = slice.devices.iter();
                let own = devices.filter(|device| pools::has(slice, device, node));
                candidates.extend(own.map(|device| Candidate {
                    pool: place,
                    slice,
                    device,
                }));
            }
        }
        let constraints = allocator.wanting().iter();
        let constraints = constraints
            .map(|wanting| constraints_of(wanting))
            .collect::<Result<_, _>>()?;
        let mut search = Self {
            allocator,
            budget,
            pools,
            candidates,
            all: HashMap::new(),
            dedicated: HashMap::new(),
            sharing: HashMap::new(),
            counters: Counters::default(),
            constraints,
            picks: allocator.wanting().iter().map(|_| Vec::new()).collect(),
            taken: HashMap::new(),
            is_possible: false,
        };
        search.look_at_requests()?;
        Ok(search)
    }

    pub fn has_invalid_pools(&self) -> bool {
        self.pools.iter().any(|pool| pool.state == State::Invalid)
    }

    /// Whether all claims have all devices.
    pub fn run(&mut self) -> Result<bool, Error> {
        Ok(self.claim(0)? == Found::Yes)
    }

    /// Finds out how many devices all are, and whether claims want more than they may have.
    fn look_at_requests(&mut self) -> Result<(), Error> {
        let mut all = 0usize;
        for (claim, wanting) in self.allocator.wanting().iter().enumerate() {
            let mut sum = 0usize;
            for (request, of) in wanting.requests.iter().enumerate() {
                let mut least = usize::MAX;
                for alternative in 0..of.alternatives.len() {
                    let which = Which {
                        claim,
                        request,
                        alternative,
                    };
                    if self.allocator.alternative(which).wanted == Wanted::All {
                        let all = self.all_of(which)?;
                        self.all.insert(which, all);
                    }
                    least = least.min(self.count(which));
                }
                if least > MAX_DEVICES.saturating_sub(sum) {
                    let name = of.alternatives.first().map(|first| first.request.as_str());
                    return Err(Error::Failed(format!(
                        "claim {}, request {}: adding {least} devices exceeds the claim limit of {MAX_DEVICES}, with {sum} already accounted for",
                        wanting.name,
                        name.unwrap_or_default()
                    )));
                }
                sum = sum.saturating_add(least);
            }
            all = all.saturating_add(sum);
        }
        within("devices", all, MAX_DEVICES_TOGETHER)
    }

    /// Every device that an alternative selects, those in use too.
    fn all_of(&mut self, which: Which) -> Result<Vec<usize>, Error> {
        let alternative = self.allocator.alternative(which);
        let claim = &self.allocator.wanting()[which.claim].name;
        let failed = |why: String| {
            Error::Failed(format!(
                "claim {claim}, request {}: {why}",
                alternative.name
            ))
        };
        for pool in &self.pools {
            let what = match pool.state {
                State::Usable => continue,
                State::Incomplete => "being updated",
                State::Invalid => "invalid",
            };
            let why = format!(
                "asks for all devices, but resource pool {} is currently {what}",
                pool.id
            );
            return Err(failed(why));
        }
        let mut all = Vec::new();
        for (place, candidate) in self.candidates.iter().enumerate() {
            self.budget.step()?;
            let device = candidate.device;
            if !self
                .allocator
                .selects(which, candidate.slice, device, self.budget)?
            {
                continue;
            }
            let none = std::iter::empty();
            let fits = capacity::consume(&device.capacity, &alternative.capacity, none);
            let fits = fits.map_err(|why| {
                failed(format!("checking capacity for device {}: {why}", device.id))
            })?;
            if fits.is_some() {
                all.push(place);
            }
        }
        Ok(all)
    }

    fn count(&self, which: Which) -> usize {
        match self.allocator.alternative(which).wanted {
            Wanted::Count(count) => count,
            Wanted::All => self.all.get(&which).map_or(0, Vec::len),
        }
    }

    fn claim(&mut self, claim: usize) -> Result<Found, Error> {
        match claim < self.allocator.wanting().len() {
            true => self.request(claim, 0),
            false => Ok(Found::Yes),
        }
    }

    fn request(&mut self, claim: usize, request: usize) -> Result<Found, Error> {
        self.budget.step()?;
        let Some(of) = self.allocator.wanting()[claim].requests.get(request) else {
            // What another claim may not have does not concern this one.
            return Ok(match self.claim(claim.saturating_add(1))? {
                Found::No | Found::TooMany => Found::No,
                found => found,
            });
        };
        let mut found = Found::TooMany;
        for alternative in 0..of.alternatives.len() {
            let which = Which {
                claim,
                request,
                alternative,
            };
            match self.device(which, 0, 0)? {
                Found::Yes => {
                    if of.is_prioritized {
                        self.taken.insert((claim, request), alternative);
                    }
                    return Ok(Found::Yes);
                }
                Found::No => found = Found::No,
                Found::TooMany => {}
                Found::Never => return Ok(Found::Never),
            }
        }
        match found {
            Found::No if !self.may_succeed() => Ok(Found::Never),
            found => Ok(found),
        }
    }

    /// Whether it is of any use to go back. It is found out once, when that is first asked: most searches go straight on.
    fn may_succeed(&mut self) -> bool {
        if !self.is_possible {
            let count = |which| self.count(which);
            let found = feasible::is_possible(self.allocator, &self.candidates, count, self.budget);
            self.is_possible = found;
        }
        self.is_possible
    }

    /// Chooses the device of this number for an alternative, from the candidate of this place on, and goes on.
    fn device(&mut self, which: Which, number: usize, from: usize) -> Result<Found, Error> {
        let wants_all = self.allocator.alternative(which).wanted == Wanted::All;
        let count = self.count(which);
        if wants_all && count == 0 {
            return Ok(Found::No);
        }
        if number >= count {
            return self.request(which.claim, which.request.saturating_add(1));
        }
        let left = MAX_DEVICES.saturating_sub(self.picks[which.claim].len());
        let chosen: usize = self.picks.iter().map(Vec::len).sum();
        let left = left.min(MAX_DEVICES_TOGETHER.saturating_sub(chosen));
        if count.saturating_sub(number) > left {
            return Ok(Found::TooMany);
        }
        let next = number.saturating_add(1);
        if wants_all {
            let all = self.all.get(&which);
            let Some(place) = all.and_then(|all| all.get(number)).copied() else {
                return Ok(Found::No);
            };
            return match self.choose(which, place)? {
                Some(done) => self.go_on(which, next, place, 0, done),
                None => Ok(Found::No),
            };
        }
        for place in from..self.candidates.len() {
            let candidate = self.candidates[place];
            if !self
                .allocator
                .selects(which, candidate.slice, candidate.device, self.budget)?
            {
                self.budget.step()?;
                continue;
            }
            let Some(done) = self.choose(which, place)? else {
                continue;
            };
            match self.go_on(which, next, place, place.saturating_add(1), done)? {
                Found::No => {}
                found => return Ok(found),
            }
        }
        Ok(Found::No)
    }

    fn go_on(
        &mut self,
        which: Which,
        next: usize,
        place: usize,
        from: usize,
        done: Done,
    ) -> Result<Found, Error> {
        let found = self.device(which, next, from)?;
        if found != Found::Yes {
            self.picks[which.claim].pop();
            self.undo(which, self.candidates[place], done);
        }
        Ok(found)
    }

    /// Chooses a device, where it may be had.
    fn choose(&mut self, which: Which, place: usize) -> Result<Option<Done>, Error> {
        self.budget.step()?;
        let candidate = self.candidates[place];
        let mut done = Done::default();
        if !self.try_choose(which, candidate, &mut done)? {
            self.undo(which, candidate, done);
            return Ok(None);
        }
        self.picks[which.claim].push(Pick {
            which,
            candidate,
            share: done.share.clone(),
        });
        Ok(Some(done))
    }

    fn try_choose(
        &mut self,
        which: Which,
        candidate: Candidate<'s>,
        done: &mut Done,
    ) -> Result<bool, Error> {
        let Candidate {
            pool,
            slice,
            device,
        } = candidate;
        let alternative = self.allocator.alternative(which);
        if self.is_taken(which.claim, alternative, device) {
            return Ok(false);
        }
        let usage = self.allocator.usage();
        let id = &device.id;
        let has_parts =
            self.sharing.get(id).is_some_and(|s| s.shares > 0) || usage.sharing(id).is_some();
        // The counters of a device that is shared are taken once.
        let taken_already = device.is_shared && has_parts;
        if !device.consumes.is_empty() && !taken_already {
            done.counters = self.counters.take(pool, &self.pools[pool], device, usage);
            if !done.counters {
                return Ok(false);
            }
        }
        let tolerations = alternative.tolerations.as_deref().unwrap_or_default();
        let mut device_taints = device.taints.iter();
        if device_taints.any(|taint| taints::prevents(taint, tolerations)) {
            return Ok(false);
        }
        for constraint in &mut self.constraints[which.claim] {
            if !constraint.add(alternative, slice, device) {
                return match alternative.wanted {
                    Wanted::Count(_) => Ok(false),
                    Wanted::All => Err(Error::Failed(format!(
                        "claim {}, request {}: cannot add device {id} because a claim constraint would not be satisfied",
                        self.allocator.wanting()[which.claim].name,
                        alternative.name
                    ))),
                };
            }
            done.constraints = done.constraints.saturating_add(1);
        }
        let Some(consumed) = self.consume(which, alternative, device)? else {
            return Ok(false);
        };
        if device.is_shared {
            self.sharing.entry(id).or_default().add(&consumed);
            done.share = Some(consumed);
        } else {
            self.dedicated.entry(id).or_default().push(which.claim);
            done.dedicated = true;
        }
        Ok(true)
    }

    /// Whether somebody has the device. An administrator may have one that others have, but not twice in a claim.
    fn is_taken(&self, claim: usize, alternative: &Alternative, device: &Device) -> bool {
        let here = self
            .dedicated
            .get(&device.id)
            .map_or(&[][..], Vec::as_slice);
        match alternative.admin_access {
            true => !device.is_shared && here.contains(&claim),
            false => !here.is_empty() || self.allocator.usage().is_dedicated(&device.id),
        }
    }

    fn consume(
        &self,
        which: Which,
        alternative: &Alternative,
        device: &Device,
    ) -> Result<Option<Amounts>, Error> {
        let before = self.allocator.usage().sharing(&device.id);
        let used = before.into_iter().chain(self.sharing.get(&device.id));
        let used = used.map(|sharing| &sharing.consumed);
        let consumed = capacity::consume(&device.capacity, &alternative.capacity, used);
        consumed.map_err(|why| {
            Error::Failed(format!(
                "claim {}, request {}: checking capacity for device {}: {why}",
                self.allocator.wanting()[which.claim].name,
                alternative.name,
                device.id
            ))
        })
    }

    fn undo(&mut self, which: Which, candidate: Candidate<'s>, done: Done) {
        let device = candidate.device;
        if let (Some(share), Some(sharing)) = (&done.share, self.sharing.get_mut(&device.id)) {
            sharing.remove(share);
        }
        if done.dedicated
            && let Some(claims) = self.dedicated.get_mut(&device.id)
        {
            claims.pop();
        }
        let alternative = self.allocator.alternative(which);
        let constraints = self.constraints[which.claim].iter_mut();
        for constraint in constraints.take(done.constraints) {
            constraint.remove(alternative);
        }
        if done.counters {
            self.counters.give_back(candidate.pool, device);
        }
    }
}

fn constraints_of(wanting: &crate::request::Wanting) -> Result<Vec<Constraint<'_>>, Error> {
    let devices = wanting.claim.spec.devices.iter();
    let constraints = devices.flat_map(|devices| devices.constraints.iter().flatten());
    let read = constraints.enumerate().map(|(index, constraint)| {
        Constraint::of(constraint).ok_or_else(|| {
            Error::Failed(format!(
                "claim {}, constraint #{index}: empty constraint (unsupported constraint type?)",
                wanting.name
            ))
        })
    });
    read.collect()
}
