//! Measures our programs beside their peers: `cargo run --release -p bench -- SUITE`.
//!
//! A suite lines up its subjects; rounds of all of them interleave, so that whatever else the machine does
//! meets each alike; a table or one JSON object comes out. What a suite needs is built first.
#![forbid(unsafe_code)]

// What is asked for, and what comes out.
mod args;
mod error;
mod filter;
mod json;
mod machine;
mod plot;
mod ratio;
mod report;
mod stats;
mod table;

// How it is measured.
mod exchange;
mod failures;
mod load;
mod rounds;
mod suites;
mod swarm;
mod window;

// What is measured: programs of ours and peers, how they start, what they answer, what they hold.
mod client;
mod cpu;
mod footprint;
mod installed;
mod interrupt;
mod log;
mod nginx;
mod peer;
mod pm2;
mod programs;
mod reload;
mod scratch;
mod status;
mod subject;
mod trial;

use std::process::ExitCode;

use args::{Options, Request};
use error::Error;
use installed::Installed;
use machine::Machine;
use programs::Programs;
use report::Report;
use rounds::Pace;
use suites::Setting;

fn main() -> ExitCode {
    let outcome = args::parse(std::env::args().skip(1)).and_then(|request| match request {
        Request::Help => Ok(args::help()),
        Request::Run(options) => run(&options),
    });
    match outcome {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(err) => {
            eprintln!("bench: {err}");
            ExitCode::FAILURE
        }
    }
}

/// Measures one suite; answers with what to print.
fn run(options: &Options) -> Result<String, Error> {
    interrupt::tidy_up_when_interrupted()?;
    let suite = options.suite;
    if let Some(folder) = &options.plot {
        // Now, not after minutes of measuring.
        let failed = |source| Error::Plot { path: folder.clone(), source };
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let programs = Programs::build(suite)?;
    let installed = Installed::here();
    let machine = Machine::of_this(&installed);
    let filter = &options.filter;
    let mut lineup = (suite.line_up)(&Setting { programs, installed, quick: options.quick, filter })?;
    filter.thin_out(&mut lineup)?;
    for skipped in &lineup.skipped {
        eprintln!("bench: {skipped}");
    }
    if let Some(warning) = load::warning() {
        eprintln!("bench: {warning}");
    }
    let pace = Pace { rounds: options.rounds, time: options.time() };
    let mut measured = rounds::interleave(&mut lineup.entries, &pace)?;
    measured.compare(suite.ratios);
    let mut rows = measured.rows();
    rows.retain(|row| filter.wants(&row.case));
    let (rounds, skipped) = (measured.rounds, lineup.skipped);
    let report = Report { suite: suite.name, machine, rounds, rows, skipped };
    if let (Some(folder), Some(plot)) = (&options.plot, suite.plot) {
        let path = folder.join(suite.name).with_extension("svg");
        std::fs::write(&path, plot::render(&report, plot)).map_err(|source| Error::Plot { path, source })?;
    }
    Ok(if options.json {
        json::render(&report)
    } else {
        table::render(&report, suite.explains, options.rounds)
    })
}
