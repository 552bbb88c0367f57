//! What the fuzz targets share.

pub mod mutate;

/// Tells at the end what the worst input took.
pub fn tell() {
    extern "C" fn at_exit() {
        let [memory, largest, micros, deaths] = bpfboot::fuzz::worst();
        eprintln!(
            "WORST slowest {:.1} ms, largest allocation {} KiB, memory in all {} KiB, {deaths} deaths of the child",
            micros as f64 / 1000.0,
            largest / 1024,
            memory / 1024,
        );
    }
    unsafe extern "C" {
        fn atexit(call: extern "C" fn()) -> i32;
    }
    // SAFETY: the function lives as long as the process.
    unsafe { atexit(at_exit) };
}
