//! A filter for system calls that namespaces do not separate.
//!
//! The kernel's keyrings belong to a session and its log to nobody: a guest would
//! see the keys of whoever started the daemon, and what the kernel says. The other
//! calls are refused because no agent needs them and their past is a list of kernel
//! holes; container engines refuse them too. Refused calls fail with EPERM, so a
//! program can fall back.
//!
//! The filter is a classic BPF program in the kernel's own format (`struct
//! sock_filter`, see the kernel's `Documentation/userspace-api/seccomp_filter`),
//! which `bwrap --seccomp` reads from a file.

/// Of one architecture: its number in `struct seccomp_data` and the refused calls.
struct Table {
    arch: u32,
    calls: [u32; 13],
    getgroups: u32,
}

// add_key, request_key, keyctl, bpf, perf_event_open, userfaultfd, io_uring_setup,
// open_by_handle_at, kexec_load, init_module, finit_module, delete_module, syslog;
// the numbers are those of the kernel's uapi headers.
#[cfg(target_arch = "x86_64")]
const TABLE: Option<Table> = Some(Table {
    arch: 0xc000_003e,
    calls: [248, 249, 250, 321, 298, 323, 425, 304, 246, 175, 313, 176, 103],
    getgroups: 115,
});
#[cfg(target_arch = "aarch64")]
const TABLE: Option<Table> = Some(Table {
    arch: 0xc000_00b7,
    calls: [217, 218, 219, 280, 241, 282, 425, 265, 104, 105, 273, 106, 116],
    getgroups: 158,
});
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const TABLE: Option<Table> = None;

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K
const ALLOW: u32 = 0x7fff_0000; // SECCOMP_RET_ALLOW
const REFUSE: u32 = 0x0005_0001; // SECCOMP_RET_ERRNO | EPERM
const NONE: u32 = 0x0005_0000; // SECCOMP_RET_ERRNO without an error: the call returns 0
/// From here on the numbers of x86's second ABI, x32, name the same calls again.
const X32: u32 = 0x4000_0000;

/// The program, or none on an architecture whose numbers are not written here.
///
/// With `no_groups` a process learns of no supplementary group. A file server for VMs
/// would give them up and ends where it may not, as in every user namespace that an
/// ordinary user makes.
pub fn program(no_groups: bool) -> Option<Vec<u8>> {
    let table = TABLE?;
    let mut program = Vec::new();
    let mut add = |code: u16, yes: u8, no: u8, value: u32| {
        program.extend(code.to_ne_bytes());
        program.extend([yes, no]);
        program.extend(value.to_ne_bytes());
    };
    let calls = table.calls.len() as u8 + 2 * u8::from(no_groups);
    add(LOAD, 0, 0, 4); // the architecture
    add(EQUAL, 0, calls + 3, table.arch); // another one's numbers mean other calls
    add(LOAD, 0, 0, 0); // the call's number
    add(AT_LEAST, calls + 1, 0, X32);
    for (i, call) in table.calls.into_iter().enumerate() {
        add(EQUAL, calls - i as u8, 0, call);
    }
    if no_groups {
        add(EQUAL, 0, 1, table.getgroups);
        add(RETURN, 0, 0, NONE);
    }
    add(RETURN, 0, 0, ALLOW);
    add(RETURN, 0, 0, REFUSE);
    Some(program)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// What the kernel would do with a call.
    fn run(program: &[u8], arch: u32, call: u32) -> u32 {
        let (mut at, mut loaded) = (0, 0);
        loop {
            let i = &program[at * 8..at * 8 + 8];
            let value = u32::from_ne_bytes(i[4..8].try_into().unwrap());
            let holds = match u16::from_ne_bytes([i[0], i[1]]) {
                LOAD => {
                    loaded = if value == 4 { arch } else { call };
                    at += 1;
                    continue;
                }
                EQUAL => loaded == value,
                AT_LEAST => loaded >= value,
                RETURN => return value,
                code => panic!("code {code}"),
            };
            at += 1 + usize::from(if holds { i[2] } else { i[3] });
        }
    }

    #[test]
    fn exactly_the_listed_calls_are_refused() {
        for no_groups in [false, true] {
            let (Some(program), Some(table)) = (program(no_groups), TABLE) else { return };
            for call in 0..600 {
                let expected = match call {
                    _ if table.calls.contains(&call) => REFUSE,
                    _ if no_groups && call == table.getgroups => NONE,
                    _ => ALLOW,
                };
                assert_eq!(run(&program, table.arch, call), expected, "call {call}");
            }
            assert_eq!(run(&program, table.arch, X32 + 1), REFUSE);
            assert_eq!(run(&program, 0x4000_0003, 1), REFUSE, "32-bit x86");
        }
    }
}
