//! What checksums are of: objects as Go's spew prints them (`%#v`, sorted), under the names of upstream's types.

use std::{collections::BTreeMap, fmt::Display};

use super::Entries;
use crate::memory::{Block, Given, Machine, NodeState, Table};

/// FNV-1a of 32 bits.
pub fn hash(text: &str) -> u32 {
    let bytes = text.bytes();
    bytes.fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// A string.
pub fn text(text: &str) -> String {
    format!("(string){text}")
}

fn map<K: Display, V>(entries: &BTreeMap<K, V>, value: impl Fn(&V) -> String) -> String {
    let entries = entries.iter();
    let entries: Vec<String> = entries
        .map(|(key, one)| format!("{key}:{}", value(one)))
        .collect();
    format!("map[{}]", entries.join(" "))
}

/// Of who has which CPUs.
pub fn cpus(policy: &str, shared: &str, entries: &Entries) -> String {
    let entries = map(entries, |containers| map(containers, String::clone));
    format!(
        "(*state.CPUManagerCheckpoint){{PolicyName:(string){policy} DefaultCPUSet:(string){shared} \
         Entries:(map[string]map[string]string){entries} Checksum:(checksum.Checksum)0}}"
    )
}

/// Of who has which memory.
pub fn memory(policy: &str, machine: &Machine, given: &Given) -> String {
    let machine = map(machine, node);
    let given = map(given, |containers| {
        map(containers, |blocks| {
            let blocks: Vec<String> = blocks.iter().map(block).collect();
            format!("[{}]", blocks.join(" "))
        })
    });
    format!(
        "(*state.MemoryManagerCheckpoint){{PolicyName:(string){policy} \
         MachineState:(state.NUMANodeMap){machine} \
         Entries:(state.ContainerMemoryAssignments){given} Checksum:(checksum.Checksum)0}}"
    )
}

fn numbers(numbers: &[usize]) -> String {
    let numbers: Vec<String> = numbers.iter().map(usize::to_string).collect();
    format!("([]int)[{}]", numbers.join(" "))
}

fn node(node: &NodeState) -> String {
    format!(
        "<*>{{NumberOfAssignments:(int){} MemoryMap:(map[v1.ResourceName]*state.MemoryTable){} Cells:{}}}",
        node.assignments,
        map(&node.memory, table),
        numbers(&node.group)
    )
}

fn table(table: &Table) -> String {
    format!(
        "<*>{{TotalMemSize:(uint64){} SystemReserved:(uint64){} Allocatable:(uint64){} \
         Reserved:(uint64){} Free:(uint64){}}}",
        table.total, table.system_reserved, table.allocatable, table.reserved, table.free
    )
}

fn block(block: &Block) -> String {
    format!(
        "{{NUMAAffinity:{} Type:(v1.ResourceName){} Size:(uint64){}}}",
        numbers(&block.nodes),
        block.resource,
        block.size
    )
}
