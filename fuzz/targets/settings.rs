//! `.env`: a value is one line, and no error repeats what stands there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanoclaw::config::dotenv;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(values) = dotenv::parse(bytes) {
        assert!(values.iter().all(|(n, v)| !n.is_empty() && !v.is_empty() && !v.contains('\n')));
    }
});
