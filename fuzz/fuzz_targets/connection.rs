#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| portaria_fuzz::connection::hunt(bytes));
