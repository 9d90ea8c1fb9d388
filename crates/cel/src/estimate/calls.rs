//! What calls may cost at most, and how large what they make may be: upstream's `EstimateCallCost`
//! (`apiserver/pkg/cel/library/cost.go`), the estimates of cel-go's `ext` libraries, and those of its own functions.

use cel::common::ast::{Expr, LiteralValue};

use super::{Estimator, ITEMS, LIST, Node, Size, tenths};
use crate::types::Type;

/// The cost of a check of an authorizer.
const CHECK: u64 = 350_000;
/// What a requirement of a selector costs, of which there may be one in two characters.
const REQUIREMENT: u64 = 50;
/// The longest pattern of a format of names, and the longest name of one.
const MAX_PATTERN: u64 = 128;
const MAX_FORMAT: u64 = 64;

/// Of a call, without what it is given.
#[derive(Debug)]
pub struct Estimate {
    pub cost: u64,
    /// Of what it makes.
    pub size: Option<Size>,
}

fn costs(cost: u64) -> Estimate {
    Estimate { cost, size: None }
}

fn makes(cost: u64, size: Size) -> Estimate {
    let size = Some(size);
    Estimate { cost, size }
}

/// A call that makes a list.
fn makes_list(factor: f64, size: Size) -> Estimate {
    makes(scaled(size.max, factor).saturating_add(LIST + 1), size)
}

/// Rounded up.
fn scaled(size: u64, factor: f64) -> u64 {
    // Casts saturate.
    (size as f64 * factor).ceil() as u64
}

fn int(node: &Node<'_>) -> Option<u64> {
    match &node.expr.expr {
        Expr::Literal(LiteralValue::Int(number)) => Some((*number.inner()).max(0).unsigned_abs()),
        _ => None,
    }
}

fn is_text(ty: &Type) -> bool {
    matches!(ty, Type::String | Type::Bytes)
}

fn is_unknown(ty: &Type) -> bool {
    matches!(ty, Type::Dyn | Type::Var(_))
}

impl<'e> Estimator<'e> {
    pub(super) fn estimate(
        &self,
        name: &str,
        target: Option<&Node<'e>>,
        arguments: &[Node<'e>],
    ) -> Estimate {
        let estimate = match target {
            Some(target) => self.method(name, target, arguments),
            None => self.function(name, arguments),
        };
        estimate.unwrap_or_else(|| costs(1))
    }

    /// Of an operator, or a function that is not called on anything. None: it is done in a constant time.
    fn function(&self, name: &str, arguments: &[Node<'e>]) -> Option<Estimate> {
        let size = |index: usize| arguments.get(index).map_or(Size::UNKNOWN, Node::size);
        let reading = |times: u64| costs(tenths(size(0).max.saturating_mul(times)));
        let first = &arguments.first()?.ty;
        Some(match name {
            "_==_" => return Some(self.equality(arguments)),
            "_!=_" => costs(tenths(size(0).max.min(size(1).max))),
            "_<_" | "_<=_" | "_>_" | "_>=_" if is_text(first) || is_text(&arguments.get(1)?.ty) => {
                costs(tenths(size(0).max.min(size(1).max)))
            }
            "_<_" | "_<=_" | "_>_" | "_>=_"
                if is_unknown(first) && is_unknown(&arguments.get(1)?.ty) =>
            {
                costs(tenths(size(0).max.min(size(1).max)).max(1))
            }
            "_+_" => {
                let sum = size(0).plus(size(1));
                let second = &arguments.get(1)?.ty;
                match first {
                    Type::List(_) => makes(1, sum),
                    _ if is_text(first) || is_text(second) => makes(tenths(sum.max), sum),
                    _ if is_unknown(first) && is_unknown(second) => {
                        makes(tenths(sum.max).max(1), sum)
                    }
                    _ => return None,
                }
            }
            "@in" => match arguments.get(1)?.ty {
                Type::Map(_) => return None,
                _ => costs(size(1).max),
            },
            "bytes" if matches!(first, Type::String) => {
                let made = Size {
                    max: size(0).max.saturating_mul(4),
                    ..size(0)
                };
                makes(tenths(size(0).max), made)
            }
            "string" if matches!(first, Type::Bytes) => {
                let made = Size {
                    min: size(0).min / 4,
                    ..size(0)
                };
                makes(tenths(size(0).max), made)
            }
            "strings.quote" => {
                let made = Size {
                    min: size(0).min.saturating_add(2),
                    max: size(0).max.saturating_mul(2).saturating_add(2),
                };
                makes(tenths(size(0).max), made)
            }
            "matches" => costs(matching(size(0), size(1))),
            "url" | "jsonpatch.escapeKey" => makes(tenths(size(0).max), size(0)),
            "ip.isCanonical" => reading(2),
            "cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver"
            | "isSemver" => reading(1),
            "lists.range" => makes_list(1.0, Size::of(int(arguments.first()?).unwrap_or(u64::MAX))),
            "sets.contains" | "sets.intersects" => {
                costs(size(0).times(size(1)).max.saturating_add(1))
            }
            "sets.equivalent" => {
                let pairs = size(0).times(size(1)).max.saturating_mul(2);
                costs(pairs.saturating_add(1))
            }
            _ => return None,
        })
    }

    fn equality(&self, arguments: &[Node<'e>]) -> Estimate {
        let [a, b] = arguments else {
            return costs(1);
        };
        if let (Type::Opaque(left), Type::Opaque(right)) = (&a.ty, &b.ty)
            && left == right
        {
            return match *left {
                "kubernetes.NamedFormat" => costs(tenths(MAX_FORMAT)),
                "kubernetes.URL" => costs(tenths(b.size.map_or(1, |size| size.max))),
                _ => costs(1),
            };
        }
        costs(tenths(a.size().max.min(b.size().max)))
    }

    fn method(&self, name: &str, target: &Node<'e>, arguments: &[Node<'e>]) -> Option<Estimate> {
        let of_text = text_method(name, target, arguments);
        of_text.or_else(|| self.list_method(name, target, arguments))
    }

    fn list_method(
        &self,
        name: &str,
        target: &Node<'e>,
        arguments: &[Node<'e>],
    ) -> Option<Estimate> {
        let of = target.size();
        let size = |index: usize| arguments.get(index).map_or(Size::UNKNOWN, Node::size);
        Some(match name {
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => match &target.ty {
                Type::List(list) => {
                    let each = match is_text(&list.element) {
                        true => tenths(self.element_size(target).max).saturating_add(1),
                        false => 1,
                    };
                    costs(of.max.saturating_mul(each))
                }
                _ => costs(tenths(of.max)),
            },
            "join" => {
                let elements = match is_list(target) {
                    true => of.times(self.element_size(target)),
                    false => Size::of(0),
                };
                let separators = Size {
                    min: of.min.saturating_sub(1),
                    max: of.max.saturating_sub(1),
                };
                let made = match arguments.is_empty() {
                    true => elements,
                    false => elements.plus(size(0).times(separators)),
                };
                makes(tenths(made.max), made)
            }
            "slice" => {
                let start = arguments.first().and_then(int).unwrap_or(0);
                let end = arguments.get(1).and_then(int).unwrap_or(of.max);
                makes_list(1.0, Size::of(end.saturating_sub(start)))
            }
            "flatten" => {
                let depth = match arguments.first() {
                    None => 1,
                    Some(depth) => int(depth).unwrap_or(u64::MAX),
                };
                makes_list(depth as f64, of)
            }
            "reverse" => makes_list(1.0, of),
            "distinct" => makes_list(2.0, of.times(of)),
            "sort" => {
                let texts = matches!(&target.ty, Type::List(list) if is_text(&list.element) || is_unknown(&list.element));
                makes_list(if texts { 2.1 } else { 2.0 }, of.times(of))
            }
            _ => return None,
        })
    }

    /// Of the elements of a list, as far as the schema says.
    fn element_size(&self, list: &Node<'e>) -> Size {
        if list.place.is_empty() {
            return Size::UNKNOWN;
        }
        let mut place = list.place.clone();
        place.push(ITEMS);
        match self.max_at(&place) {
            Some(max) => Size { min: 0, max },
            None => Size::UNKNOWN,
        }
    }
}

/// Methods of texts and of what is read from them.
fn text_method(name: &str, target: &Node<'_>, arguments: &[Node<'_>]) -> Option<Estimate> {
    let of = target.size();
    let size = |index: usize| arguments.get(index).map_or(Size::UNKNOWN, Node::size);
    Some(match name {
        "check" => costs(CHECK),
        "fieldSelector" | "labelSelector" => {
            let requirements = size(0).max.div_ceil(2).saturating_mul(REQUIREMENT);
            costs(
                tenths(size(0).max)
                    .saturating_add(requirements)
                    .saturating_add(LIST),
            )
        }
        "startsWith" | "endsWith" => costs(tenths(size(0).max)),
        "contains" => costs(tenths(of.max).saturating_mul(tenths(size(0).max))),
        "matches" => costs(matching(of, size(0))),
        "find" | "findAll" => makes(matching(of, size(0)), Size { min: 0, ..of }),
        "format" => costs(tenths(of.max)),
        "lowerAscii" | "upperAscii" | "substring" | "trim" => makes(tenths(of.max), of),
        "reverse" if !is_list(target) => makes(tenths(of.max), of),
        "replace" => makes(
            tenths(of.max.saturating_mul(2)),
            replaced(of, size(0), size(1)),
        ),
        "split" => {
            let max = match arguments.get(1).and_then(|limit| literal(limit)) {
                // A limit below zero is none.
                Some(limit) => u64::try_from(limit).unwrap_or(u64::MAX),
                None => of.max,
            };
            makes(tenths(of.max.saturating_mul(2)), Size { min: 0, max })
        }
        // Addresses are of 16 bytes at most.
        "containsIP" => costs(tenths(32).saturating_add(read(arguments))),
        "containsCIDR" => costs(
            tenths(32)
                .saturating_add(tenths(16))
                .saturating_add(1)
                .saturating_add(read(arguments)),
        ),
        "validate" => costs(scaled(tenths(size(0).max), MAX_PATTERN as f64 / 4.0)),
        _ => return None,
    })
}

fn is_list(node: &Node<'_>) -> bool {
    matches!(node.ty, Type::List(_))
}

fn literal(node: &Node<'_>) -> Option<i64> {
    match &node.expr.expr {
        Expr::Literal(LiteralValue::Int(number)) => Some(*number.inner()),
        _ => None,
    }
}

/// Looking for a pattern.
fn matching(text: Size, pattern: Size) -> u64 {
    tenths(text.max.saturating_add(1)).saturating_mul(pattern.max.div_ceil(4))
}

/// Reading an address, where it is a text.
fn read(arguments: &[Node<'_>]) -> u64 {
    match arguments {
        [argument] if is_text(&argument.ty) => tenths(argument.size().max),
        _ => 0,
    }
}

/// The size of a text with its parts replaced: the smallest parts as often as they may be there, by the largest text.
fn replaced(text: Size, part: Size, by: Size) -> Size {
    let (count, kept) = if part.min == 0 {
        // Around all characters.
        (text.max.saturating_add(1), text.max)
    } else if by.max <= part.min {
        (0, text.max)
    } else {
        (text.max.div_ceil(part.min), 0)
    };
    let (least, least_kept) = if part.max == 0 {
        (text.min.saturating_add(1), text.min)
    } else if part.max <= by.min {
        (0, text.min)
    } else {
        (text.min.div_ceil(part.max), 0)
    };
    Size {
        min: least.saturating_mul(by.min).saturating_add(least_kept),
        max: count.saturating_mul(by.max).saturating_add(kept),
    }
}
