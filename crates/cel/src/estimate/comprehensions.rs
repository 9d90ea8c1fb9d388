//! What goes through lists and maps: each step, as often as there may be elements.

use cel::{
    IdedExpr,
    common::ast::{CallExpr, ComprehensionExpr, Expr},
};

use super::{Bound, Estimator, INDICES, ITEMS, KEYS, LIST, MAP, VALUES, key};
use crate::{
    syntax::{Macro, bound},
    types::Type,
};

impl<'e> Estimator<'e> {
    pub(super) fn comprehension(&mut self, expr: &'e IdedExpr, one: &'e ComprehensionExpr) -> u64 {
        let mut cost = self.cost(&one.iter_range);
        cost = cost.saturating_add(self.cost(&one.accu_init));
        let base = self.scopes.len();
        let accumulator = Bound {
            name: &one.accu_var,
            place: self.place(&one.accu_init),
            size: self.size(&one.accu_init),
            entries: self.entries_of(&one.accu_init),
        };
        self.scopes.push(accumulator);
        match &one.iter_var2 {
            Some(second) => {
                self.bind(&one.iter_var, &one.iter_range, true);
                self.bind(second, &one.iter_range, false);
            }
            None => {
                let by_key = !self.is_list(&one.iter_range);
                self.bind(&one.iter_var, &one.iter_range, by_key);
            }
        }
        let condition = self.cost(&one.loop_cond);
        let each = condition.saturating_add(self.cost(&one.loop_step));
        self.scopes.truncate(base.saturating_add(1));
        cost = cost.saturating_add(self.cost(&one.result));
        self.scopes.truncate(base);
        let count = self.size_or_unknown(&one.iter_range);
        match &one.accu_init.expr {
            Expr::Literal(_) => {
                if let Some(size) = self.size(&one.accu_init) {
                    self.computed.insert(key(expr), size);
                }
            }
            Expr::List(_) | Expr::Map(_) => {
                self.computed.insert(key(expr), count);
                if let Some(entries) = self.entries_of(&one.loop_step) {
                    self.entries.insert(key(expr), entries);
                }
            }
            _ => {}
        }
        cost.saturating_add(count.max.saturating_mul(each))
    }

    /// What the parser leaves as calls costs as the comprehension that cel-go makes of it.
    pub(super) fn macro_call(&mut self, expr: &'e IdedExpr, call: &'e CallExpr, one: Macro) -> u64 {
        let (Some(target), Some(names)) = (call.target.as_deref(), bound(call, one.names())) else {
            return u64::MAX;
        };
        let of_target = self.cost(target);
        let bodies = &call.args[one.names()..];
        let base = self.scopes.len();
        if matches!(one, Macro::OptMap | Macro::OptFlatMap) {
            let bound = Bound {
                name: names[0],
                place: Vec::new(),
                size: self.size(target),
                entries: None,
            };
            self.scopes.push(bound);
            let body = self.cost(&bodies[0]);
            self.scopes.truncate(base);
            // The target twice: whether it has a value, and that; an empty list, which is what a binding goes through.
            let wrapped = u64::from(one == Macro::OptMap);
            let inside = body.saturating_add(LIST + 2).saturating_add(wrapped);
            return of_target.saturating_mul(2).saturating_add(inside);
        }
        self.bind(names[0], target, true);
        self.bind(names[1], target, false);
        let costs: Vec<u64> = bodies.iter().map(|body| self.cost(body)).collect();
        self.scopes.truncate(base);
        let (filter, body) = match costs[..] {
            [body] => (None, body),
            [filter, body] => (Some(filter), body),
            _ => return u64::MAX,
        };
        // The accumulator is looked at in each step; conditions ask it before.
        let (once, step) = match one {
            Macro::All => (1, body.saturating_add(3)),
            Macro::Exists => (1, body.saturating_add(4)),
            Macro::ExistsOne => (2, body.saturating_add(2)),
            Macro::TransformList => (LIST + 1, body.saturating_add(LIST + 2)),
            Macro::TransformMap => (MAP + 1, body.saturating_add(3)),
            _ => (MAP + 1, body.saturating_add(2)),
        };
        let step = step.saturating_add(filter.unwrap_or(0));
        let count = self.size_or_unknown(target);
        match one {
            Macro::All | Macro::Exists | Macro::ExistsOne => {}
            _ => {
                self.computed.insert(key(expr), count);
            }
        }
        let all = count.max.saturating_mul(step);
        of_target.saturating_add(once).saturating_add(all)
    }

    fn bind(&mut self, name: &'e str, range: &IdedExpr, is_key: bool) {
        let entries = self.entries_of(range);
        let is_list = self.is_list(range);
        let mut place = self.place(range);
        place.push(match (is_key, is_list) {
            (true, true) => INDICES,
            (true, false) => KEYS,
            (false, true) => ITEMS,
            (false, false) => VALUES,
        });
        let size = entries.map(|entries| if is_key { entries.key } else { entries.value });
        self.scopes.push(Bound {
            name,
            place,
            size,
            entries: None,
        });
    }

    fn is_list(&self, range: &IdedExpr) -> bool {
        match self.entries_of(range) {
            Some(entries) => entries.is_list,
            None => matches!(self.ty(range), Type::List(_)),
        }
    }
}
