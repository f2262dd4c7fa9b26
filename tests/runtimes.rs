//! Every runtime keeps the promises of `trait Runtime`: one suite over all of them,
//! on the real thing but for Apple's, which has a strict stand-in.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod sandbox;
#[path = "runtimes/suite.rs"]
mod suite;
mod support;
#[path = "runtimes/turn.rs"]
mod turn;

use sandbox::Kind;

/// Each test of the suite for each runtime.
macro_rules! conformance {
    ($($runtime:ident $kind:expr),* ; $tests:tt) => {
        $(mod $runtime {
            use super::*;
            conformance!(@each $kind; $tests);
            #[test]
            fn a_turn_with_the_real_cli_and_the_practice_model() {
                turn::a_turn_with_the_real_cli_and_the_practice_model($kind);
            }
        })*
    };
    (@each $kind:expr; [$($test:ident),* $(,)?]) => {
        $(
            #[tokio::test]
            async fn $test() {
                suite::$test($kind).await;
            }
        )*
    };
}

conformance! {
    bwrap Kind::Bwrap, podman Kind::Podman, docker Kind::Docker,
    apple_0_12 Kind::Apple("0.12.3"), apple_1_2 Kind::Apple("1.2.2"), apple_1_4 Kind::Apple("1.4.1");
    [
        the_probe_says_what_there_is,
        exit_codes_come_through,
        the_guest_has_the_given_environment_and_nothing_of_the_daemons,
        standard_input_is_the_lifeline,
        ten_megabytes_of_log_pass,
        two_run_at_once_and_are_listed,
        a_group_sees_its_own_and_can_write_nothing_else,
        hostile_paths_are_mounted_or_refused_by_name,
        what_cannot_be_started_is_told,
        stop_ends_what_ignores_it_and_nothing_of_another_installation,
        a_guest_without_its_client_is_found_and_ended,
    ]
}

/// VMs are slow without the processor's help, so each question costs one or two.
/// Their turns are in `tests/microvm.rs`.
mod microvm {
    use super::*;

    conformance! { @each Kind::Microvm; [
        the_probe_says_what_there_is,
        the_guest_has_the_given_environment_and_nothing_of_the_daemons,
        ten_megabytes_of_log_pass,
        two_run_at_once_and_are_listed,
        a_group_sees_its_own_and_can_write_nothing_else,
        what_cannot_be_started_is_told,
        stop_ends_what_ignores_it_and_nothing_of_another_installation,
        a_guest_without_its_client_is_found_and_ended,
    ] }
}

/// Not for Apple's tool, whose guests cannot tell which directory it is: docs/mounts.md.
mod swapped {
    macro_rules! swapped {
        ($($runtime:ident $kind:ident),*) => {$(
            mod $runtime {
                use crate::*;
                conformance! { @each Kind::$kind; [
                    a_directory_that_is_swapped_while_containers_start_is_never_another
                ] }
            }
        )*};
    }
    swapped!(bwrap Bwrap, podman Podman, docker Docker, microvm Microvm);
}
