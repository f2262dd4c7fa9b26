//! Records of the mailbox, both ways: what is read is what was written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanoclaw::ipc::record::{GuestRecord, HostRecord};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(record) = serde_json::from_slice::<GuestRecord>(bytes) {
        let again = serde_json::to_vec(&record).unwrap();
        assert_eq!(serde_json::from_slice::<GuestRecord>(&again).unwrap(), record);
    }
    if let Ok(record) = serde_json::from_slice::<HostRecord>(bytes) {
        let again = serde_json::to_vec(&record).unwrap();
        assert_eq!(serde_json::from_slice::<HostRecord>(&again).unwrap(), record);
    }
});
