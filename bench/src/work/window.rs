//! When messages count.
use std::time::{Duration, Instant};

/// Begins and ends with an arrival, so that few and large messages give a rate as true as many small ones.
#[derive(Debug)]
pub struct Window {
    warm_up: Duration,
    length: Duration,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing has arrived.
    Waiting,
    Warming {
        since: Instant,
    },
    Counting {
        since: Instant,
        messages: u64,
    },
    Over,
}

/// What an arrival was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Progress {
    /// One that does not count.
    NotCounted,
    /// The last that does not count: the next ones do.
    Begins,
    /// One that counts.
    Counted,
    /// The last one that counts; there were so many per second.
    Over(f64),
}

impl Window {
    /// Counts for `length`, from `warm_up` after the first arrival on.
    pub fn new(warm_up: Duration, length: Duration) -> Self {
        Self { warm_up, length, state: State::Waiting }
    }

    /// `messages` have arrived together, and it is `now`.
    pub fn arrived(&mut self, now: Instant, messages: u64) -> Progress {
        match &mut self.state {
            State::Waiting => {
                self.state = State::Warming { since: now };
                Progress::NotCounted
            }
            State::Warming { since } if now - *since < self.warm_up => Progress::NotCounted,
            State::Warming { .. } => {
                self.state = State::Counting { since: now, messages: 0 };
                Progress::Begins
            }
            State::Counting { since, messages: counted } => {
                *counted += messages;
                let elapsed = now - *since;
                // A rate needs time to have passed, however short the window.
                if elapsed.is_zero() || elapsed < self.length {
                    return Progress::Counted;
                }
                let rate = *counted as f64 / elapsed.as_secs_f64();
                self.state = State::Over;
                Progress::Over(rate)
            }
            State::Over => Progress::NotCounted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn what_arrives_between_two_arrivals_is_divided_by_the_time_between_them() {
        let (start, mut window) = (Instant::now(), Window::new(ms(100), ms(1000)));
        let mut at = |time, messages| window.arrived(start + ms(time), messages);
        assert_eq!(at(0, 1), Progress::NotCounted);
        assert_eq!(at(99, 5000), Progress::NotCounted);
        assert_eq!(at(300, 64), Progress::Begins);
        assert_eq!(at(800, 3), Progress::Counted);
        assert_eq!(at(1299, 3), Progress::Counted);
        // 10 messages in 2 seconds, though the window is one second long.
        assert_eq!(at(2300, 4), Progress::Over(5.0));
        assert_eq!(at(2400, 4), Progress::NotCounted);
    }

    #[test]
    fn no_time_gives_no_rate() {
        let (start, mut window) = (Instant::now(), Window::new(ms(0), ms(0)));
        assert_eq!(window.arrived(start, 1), Progress::NotCounted);
        assert_eq!(window.arrived(start, 1), Progress::Begins);
        assert_eq!(window.arrived(start, 1), Progress::Counted);
        assert_eq!(window.arrived(start + ms(500), 1), Progress::Over(4.0));
    }
}
