use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::Wake;

use super::*;

/// Notes when it is woken.
struct Sleeper {
    name: char,
    woken: Arc<Mutex<String>>,
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.woken.lock().unwrap().push(self.name);
    }
}

fn poll(sleep: &mut Sleep, waker: &Waker) -> Poll<()> {
    Pin::new(sleep).poll(&mut Context::from_waker(waker))
}

#[test]
fn sleepers_are_woken_in_order_and_those_of_the_same_time_as_they_came() {
    let timers = Timers::default();
    let woken = Arc::new(Mutex::new(String::new()));
    let start = Instant::now() + Duration::from_mins(1);
    let mut sleeps = Vec::new();
    for (name, seconds) in [('d', 2), ('a', 1), ('b', 1), ('c', 1), ('e', 3)] {
        let mut sleep = timers.sleep_until(start + Duration::from_secs(seconds));
        let woken = Arc::clone(&woken);
        let waker = Waker::from(Arc::new(Sleeper { name, woken }));
        assert!(poll(&mut sleep, &waker).is_pending());
        sleeps.push(sleep);
    }
    assert_eq!(timers.timeout(start), Some(Duration::from_secs(1)));
    timers.wake_due(start);
    assert_eq!(*woken.lock().unwrap(), "");
    timers.wake_due(start + Duration::from_secs(2));
    assert_eq!(*woken.lock().unwrap(), "abcd");
    let states: Vec<bool> = sleeps
        .iter_mut()
        .map(|sleep| poll(sleep, Waker::noop()).is_ready())
        .collect();
    assert_eq!(states, [true, true, true, true, false]);
}

#[test]
fn a_time_that_has_come_is_not_waited_for() {
    let timers = Timers::default();
    let mut sleep = timers.sleep_until(Instant::now());
    assert!(poll(&mut sleep, Waker::noop()).is_ready());
    assert_eq!(timers.timeout(Instant::now()), None);
}

#[test]
fn a_sleep_that_is_given_up_leaves_nothing_behind() {
    let timers = Timers::default();
    let at = Instant::now() + Duration::from_mins(1);
    let mut sleep = timers.sleep_until(at);
    assert!(poll(&mut sleep, Waker::noop()).is_pending());
    assert!(timers.timeout(at).is_some());
    drop(sleep);
    assert_eq!(timers.timeout(at), None);
}

#[test]
fn the_task_that_polled_last_is_woken() {
    struct Count(AtomicU32);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    let timers = Timers::default();
    let at = Instant::now() + Duration::from_mins(1);
    let mut sleep = timers.sleep_until(at);
    let last = Arc::new(Count(AtomicU32::new(0)));
    assert!(poll(&mut sleep, Waker::noop()).is_pending());
    assert!(poll(&mut sleep, &Waker::from(Arc::clone(&last))).is_pending());
    timers.wake_due(at);
    assert_eq!(last.0.load(Relaxed), 1);
}
