//! What size costs: a topology of 10,000 ENIs, 1,000 groups of 60 rules and 200 route tables of 500
//! routes, from its file to its packets.
//!
//! `scripts/bench-scale` runs it and holds the figures against their goals. Alone it prints times,
//! one line each: what, nanoseconds (the median), goal or `-`. With `VIADUCT_SIZE=small` or `full`
//! in the environment it sends packets over that topology and ends, for their instructions to be
//! counted.

#[path = "../../tests/support/mod.rs"]
mod support;

mod counted;
mod text;
mod times;
mod world;

use text::Size;
use world::World;

fn main() {
    match std::env::var("VIADUCT_SIZE").as_deref() {
        Err(_) => times::measure(),
        Ok("small") => counted::run(&mut World::new(Size::SMALL)),
        Ok("full") => counted::run(&mut World::new(Size::FULL)),
        Ok(other) => panic!("VIADUCT_SIZE is `small` or `full`, not `{other}`"),
    }
}
