//! Records that agents of 1.x write by hand: a known call, or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanoclaw::ipc::legacy::LegacyRecord;

fuzz_target!(|bytes: &[u8]| {
    let _ = LegacyRecord::message(bytes);
    if let Ok(LegacyRecord::Task(task)) = LegacyRecord::task(bytes)
        && let Some((_, arguments)) = task.call()
    {
        assert!(arguments.as_object().unwrap().values().all(|v| !v.is_null()));
    }
});
