//! What a guest must not reach, tried from the inside by the real driver. Every
//! attempt prints what it saw; a `control` beside it shows that the attempt would
//! succeed if the boundary were not there.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod sandbox;
#[path = "escape/suite.rs"]
mod suite;

use sandbox::Kind;

/// Each attempt against each runtime that there is for this machine.
macro_rules! escapes {
    ($($runtime:ident $kind:expr),* ; $tests:tt) => {
        $(escapes!(@one $runtime $kind; $tests);)*
    };
    (@one $runtime:ident $kind:expr; [$($test:ident),* $(,)?]) => {
        mod $runtime {
            use super::*;
            $(
                #[tokio::test]
                async fn $test() {
                    suite::$test($kind).await;
                }
            )*
        }
    };
}

escapes! {
    bwrap Kind::Bwrap, microvm Kind::Microvm, podman Kind::Podman, docker Kind::Docker;
    [
        files_of_other_groups_and_of_the_host_are_not_there,
        nothing_but_its_own_directories_can_be_written,
        processes_of_the_host_are_out_of_sight,
        there_is_no_network,
        there_are_no_privileges_to_be_had,
        a_planted_link_leads_nowhere,
    ]
}
