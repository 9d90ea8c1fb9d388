use oci_spec::runtime::LinuxDeviceCgroupBuilder;

use super::*;

/// Runs a program as the kernel would; `None` where it does something that the kernel refuses.
fn run(program: &[Instruction], request: [u32; 3]) -> Option<u32> {
    let mut registers = [0_u32; 6];
    let mut at = 0_usize;
    loop {
        let step = program.get(at)?;
        at += 1;
        let (to, from) = (step.registers & 15, step.registers >> 4);
        let constant = step.constant.cast_unsigned();
        let value = registers[usize::from(to)];
        let jump = match step.code {
            LOAD_WORD => {
                registers[usize::from(to)] = request[usize::try_from(step.offset).ok()? / 4];
                false
            }
            MOVE_32 => {
                registers[usize::from(to)] = constant;
                false
            }
            MOVE_32_REGISTER => {
                registers[usize::from(to)] = registers[usize::from(from)];
                false
            }
            AND_32 => {
                registers[usize::from(to)] = value & constant;
                false
            }
            SHIFT_RIGHT_32 => {
                registers[usize::from(to)] = value >> constant;
                false
            }
            JUMP_EQUAL => value == constant,
            JUMP_NOT_EQUAL => value != constant,
            JUMP_NOT_EQUAL_REGISTER => value != registers[usize::from(from)],
            EXIT => return Some(registers[usize::from(RESULT)]),
            _ => return None,
        };
        if jump {
            at += usize::try_from(step.offset).ok()?;
        }
    }
}

fn allows(program: &[Instruction], kind: u32, major: u32, minor: u32, asked: &str) -> bool {
    let request = [access(asked) << 16 | kind, major, minor];
    run(program, request).unwrap() == 1
}

fn rule(json: serde_json::Value) -> LinuxDeviceCgroup {
    serde_json::from_value(json).unwrap()
}

#[test]
fn a_container_opens_what_is_harmless_and_what_it_was_given() {
    let asked = [
        rule(serde_json::json!({ "allow": false, "access": "rwm" })),
        rule(
            serde_json::json!({ "allow": true, "type": "b", "major": 8, "minor": 1, "access": "r" }),
        ),
    ];
    let program = program(&rules(&asked));
    let cases = [
        ("null", CHAR, 1, 3, "rw", true),
        ("a terminal", CHAR, 136, 7, "rw", true),
        ("memory", CHAR, 1, 1, "r", false),
        ("the kernel's log", CHAR, 1, 11, "w", false),
        ("a node of anything", BLOCK, 8, 0, "m", true),
        ("a disk", BLOCK, 8, 0, "r", false),
        ("a disk by null's numbers", BLOCK, 1, 3, "r", false),
        ("the given disk", BLOCK, 8, 1, "r", true),
        ("the given disk, to write", BLOCK, 8, 1, "w", false),
        ("the given disk, for both", BLOCK, 8, 1, "rw", false),
    ];
    for (what, kind, major, minor, asked, wanted) in cases {
        assert_eq!(
            allows(&program, kind, major, minor, asked),
            wanted,
            "{what}"
        );
    }
}

#[test]
fn the_last_rule_that_matches_decides() {
    let asked = [
        rule(serde_json::json!({ "allow": true, "access": "rwm" })),
        rule(serde_json::json!({ "allow": false, "type": "b", "major": 8, "access": "w" })),
    ];
    let program = program(&rules(&asked));
    let cases = [
        (CHAR, 10, 200, "rw", true),
        (BLOCK, 8, 3, "r", true),
        (BLOCK, 8, 3, "w", false),
        (BLOCK, 8, 3, "rw", false),
        (BLOCK, 9, 3, "rw", true),
    ];
    for (kind, major, minor, asked, wanted) in cases {
        assert_eq!(
            allows(&program, kind, major, minor, asked),
            wanted,
            "{kind} {major}:{minor} {asked}"
        );
    }
}

#[test]
fn absent_and_negative_numbers_match_any() {
    let any = LinuxDeviceCgroupBuilder::default()
        .allow(true)
        .typ(LinuxDeviceType::C)
        .major(-1)
        .access("r")
        .build()
        .unwrap();
    let first = rules(&[any])[0];
    assert_eq!(
        first,
        Rule {
            allow: true,
            kind: Some(CHAR),
            major: None,
            minor: None,
            access: READ
        }
    );
}

#[test]
fn nothing_follows_a_rule_that_always_matches() {
    let everything = Rule {
        allow: false,
        kind: None,
        major: None,
        minor: None,
        access: ALL,
    };
    let code = program(&[everything, everything]);
    assert_eq!(code.len(), 8);
    assert_eq!(code[6..], answer(false));
}

/// The kernel's own check of a program: it ends, reads nothing else, has no dead code.
#[test]
fn the_kernel_takes_the_program() {
    let asked = [rule(serde_json::json!({ "allow": false, "access": "rwm" }))];
    match load(&program(&rules(&asked))) {
        Ok(_) => {}
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)) => {
            eprintln!("skipped: {error}");
        }
        Err(error) => panic!("{error}"),
    }
}
