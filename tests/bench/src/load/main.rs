//! Makes and counts the benchmark's traffic, on one side of a bed.
//!
//! It takes orders on standard input and answers on standard output (see `viaduct_bench`), and ends
//! when standard input does: with `bench`, however that ended. Everything here is threads that block;
//! only the server of requests waits for many sockets at once.
#![forbid(unsafe_code)]

mod datagrams;
mod echo;
mod requests;
mod scatter;
mod streams;
mod tally;

use std::io::{self, BufRead, Write};

use viaduct_bench::{Answer, Order, Report, Window, Work};

/// Why something could not be done: the text that `bench` shows.
type Result<T> = std::result::Result<T, String>;

fn main() -> io::Result<()> {
    let mut lines = io::stdin().lock().lines();
    while let Some(line) = lines.next().transpose()? {
        let order = serde_json::from_str(&line).map_err(io::Error::other)?;
        let answer = match order {
            Order::Serve { work } => serve(work, || {
                answer(&Answer::Ready)?;
                let Some(line) = lines.next().transpose()? else {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
                };
                match serde_json::from_str(&line).map_err(io::Error::other)? {
                    Order::Go { window } => Ok(window),
                    other => Err(io::Error::other(format!("{other:?} instead of a window"))),
                }
            }),
            Order::Drive { work, server, window } => match work {
                Work::Streams { streams, direction } => {
                    streams::drive(server, streams, direction, window)
                }
                Work::Datagrams { bytes, rate } => datagrams::drive(server, bytes, rate, window),
                Work::Segments { bytes } => datagrams::drive_segments(server, bytes, window),
                Work::Exchanges { clients } => requests::exchange(server, clients, window),
                Work::Connections { clients } => requests::connect(server, clients, window),
            },
            Order::Open { spread, rate } => scatter::open(&spread, rate),
            Order::Scatter { spread, window } => scatter::drive(&spread, window),
            Order::Go { .. } => Err("told to go before anything was prepared".to_owned()),
        };
        self::answer(&match answer {
            Ok(report) => Answer::Report(report),
            Err(message) => Answer::Failed { message },
        })?;
    }
    Ok(())
}

/// Listens, says so through `ready`, which waits for the window, and serves until it is over.
fn serve(work: Work, ready: impl FnOnce() -> io::Result<Window>) -> Result<Report> {
    let window = || ready().map_err(|error| format!("no window came: {error}"));
    match work {
        Work::Streams { streams, direction } => {
            let listener = streams::listen()?;
            streams::serve(&listener, streams, direction, window()?)
        }
        Work::Datagrams { .. } => {
            let socket = datagrams::listen(false)?;
            datagrams::serve(&socket, window()?)
        }
        Work::Segments { bytes } => {
            let socket = datagrams::listen(true)?;
            datagrams::serve_segments(&socket, bytes, window()?)
        }
        Work::Exchanges { .. } | Work::Connections { .. } => {
            let echo = echo::Echo::listen(work)?;
            echo.serve(window()?)
        }
    }
}

fn answer(answer: &Answer) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, answer)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Names what failed.
fn failed<E: std::fmt::Display>(what: impl std::fmt::Display) -> impl FnOnce(E) -> String {
    move |error| format!("{what}: {error}")
}
