//! How long round trips take.
use std::time::{Duration, Instant};

use crate::{Job, Outcome, Progress, Window};

/// Round trips, one after the other.
#[derive(Debug)]
pub struct Trips {
    window: Window,
    started: Instant,
    took: Vec<Duration>,
}

impl Trips {
    /// The first trip starts `now`.
    pub fn new(job: &Job, now: Instant) -> Self {
        Self { window: Window::new(job.warm_up, job.window), started: now, took: Vec::new() }
    }

    /// A trip ends `now`, and the next one starts. Says when counting begins; answers when it is over.
    pub fn back(&mut self, now: Instant) -> Option<Outcome> {
        let took = now - self.started;
        self.started = now;
        match self.window.arrived(now, 1) {
            Progress::NotCounted => None,
            Progress::Begins => {
                println!("{}", crate::MEASURING);
                None
            }
            Progress::Counted => {
                self.took.push(took);
                None
            }
            Progress::Over(per_second) => {
                self.took.push(took);
                Some(Outcome { per_second, p50_us: Some(microseconds(middle(&mut self.took))) })
            }
        }
    }
}

fn microseconds(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1000.0
}

/// The middle one; of an even number, the upper of the middle two.
fn middle(took: &mut [Duration]) -> Duration {
    let half = took.len() / 2;
    *took.select_nth_unstable(half).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Shape;

    #[test]
    fn the_median_is_of_the_trips_that_count() {
        let ms = Duration::from_millis;
        let job = Job { shape: Shape::RoundTrip, bytes: 64, warm_up: ms(10), window: ms(1000) };
        let start = Instant::now();
        let mut trips = Trips::new(&job, start);
        // Warming up, beginning, then trips of 100, 200 and 700 ms.
        for time in [1, 12, 112, 312] {
            assert_eq!(trips.back(start + ms(time)), None, "at {time} ms");
        }
        let outcome = trips.back(start + ms(1012)).expect("the window is over");
        assert_eq!(outcome, Outcome { per_second: 3.0, p50_us: Some(200_000.0) });
    }
}
