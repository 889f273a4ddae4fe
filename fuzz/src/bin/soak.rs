//! `scripts/soak-engine`: `soak PACKETS [WORKERS] [SEED]`.

use std::{env, io::IsTerminal, process::ExitCode, time::Instant};

use viaduct_fuzz::engine::soak::{self, Options, Tally};

fn main() -> ExitCode {
    let mut numbers = env::args().skip(1).map(|text| text.replace('_', "").parse::<u64>());
    let mut number = |default| numbers.next().unwrap_or(Ok(default));
    let (Ok(packets), Ok(workers @ 1..=64), Ok(seed)) =
        (number(1_000_000_000), number(2), number(1))
    else {
        eprintln!("usage: soak [PACKETS [WORKERS, 1 to 64 [SEED]]]");
        return ExitCode::from(2);
    };
    println!("{packets} packets, {workers} workers, seed {seed}");
    let options = Options { packets, workers: workers as u32, seed };
    let started = Instant::now();
    let rate = |tally: &Tally| tally.packets as f64 / started.elapsed().as_secs_f64() / 1e6;
    let mut memory = 0;
    let mut told = 0;
    let total = soak::run(&options, |tally, table| {
        memory = table;
        let percent = 100 * tally.packets / packets;
        let rate = rate(tally);
        if std::io::stdout().is_terminal() {
            let done = (percent / 4) as usize;
            let bar = format!("{}{}", "#".repeat(done), ".".repeat(25 - done));
            print!("\r[{bar}] {percent:>3} %, {rate:.2} M packets/s ");
        } else if percent > told {
            told = percent;
            println!("{percent:>3} %, {rate:.2} M packets/s");
        }
    });
    println!("\n{total}");
    println!(
        "{} packets in {:.0} s, {:.2} M a second; digest {:016x}; the connection table had {} MiB",
        total.packets,
        started.elapsed().as_secs_f64(),
        rate(&total),
        total.digest,
        memory >> 20,
    );
    println!(
        "no panic, nothing untranslated, nothing lost; connections, ports and their memory: 0"
    );
    ExitCode::SUCCESS
}
