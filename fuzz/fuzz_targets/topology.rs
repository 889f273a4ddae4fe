//! `viaduct_fuzz::topology` under libFuzzer, with half of the changes made word by word.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| viaduct_fuzz::topology::run(bytes));

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    match std::str::from_utf8(&data[..size]) {
        Ok(text) if seed % 2 == 0 => {
            let changed = viaduct_fuzz::topology::mutate(text, seed / 2, max_size);
            data[..changed.len()].copy_from_slice(changed.as_bytes());
            changed.len()
        }
        _ => libfuzzer_sys::fuzzer_mutate(data, size, max_size),
    }
});
