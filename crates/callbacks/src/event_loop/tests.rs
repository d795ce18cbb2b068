use std::cell::Cell;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use serverkit::session::READ;

use super::*;

const WRITE: Interest = Interest {
    read: false,
    write: true,
};
const BOTH: Interest = Interest {
    read: true,
    write: true,
};

/// The calls, in order.
type Log = Vec<&'static str>;

fn event_loop<S>() -> EventLoop<S> {
    EventLoop::new().unwrap()
}

const NAME: Name = Name::Only("a descriptor");

/// Two ends; the first has a byte to read.
fn readable() -> (Rc<UnixStream>, UnixStream) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(b"x").unwrap();
    (Rc::new(ours), theirs)
}

fn errno(failed: Result) -> Errno {
    failed.unwrap_err().downcast().unwrap()
}

fn run(mut events: EventLoop<Log>) -> Log {
    let mut log = Log::new();
    events.run(&mut log).unwrap();
    log
}

#[test]
fn without_anything_to_wait_for_it_ends() {
    assert_eq!(run(event_loop()), Log::new());
}

#[test]
fn a_callback_is_told_what_its_descriptor_is_ready_for() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let (full, _other) = readable();
    let mut events = event_loop::<Vec<Interest>>();
    for stream in [Rc::new(ours), full] {
        let watch = Rc::new(Cell::new(None));
        let own = Rc::clone(&watch);
        let descriptor = Rc::clone(&stream);
        let entered = events.watch(NAME, &*stream, BOTH, move |events, told, ready| {
            told.push(ready);
            events.remove(own.get().unwrap(), &*descriptor);
            Ok(())
        });
        watch.set(Some(entered.unwrap()));
    }
    let mut told = Vec::new();
    events.run(&mut told).unwrap();
    told.sort_by_key(|ready| ready.read);
    assert_eq!(told, [WRITE, BOTH]);
}

#[test]
fn a_hang_up_counts_as_readiness_for_everything() {
    // The kernel reports EPOLLHUP alone for a pipe whose writers are gone.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(writer);
    let mut events = event_loop::<Vec<Interest>>();
    let callback = |_: &mut EventLoop<_>, told: &mut Vec<Interest>, ready| {
        told.push(ready);
        Ok(())
    };
    let watch = events.watch(NAME, &reader, READ, callback).unwrap();
    events.set_timer(Instant::now(), move |events, _| {
        events.remove(watch, &reader);
        Ok(())
    });
    let mut told = Vec::new();
    events.run(&mut told).unwrap();
    assert_eq!(told, [BOTH]);
}

#[test]
fn what_is_left_over_is_told_again_until_the_callback_removes_itself() {
    let (stream, mut theirs) = readable();
    theirs.write_all(b"yz").unwrap();
    let mut events = event_loop::<(Option<Watch>, Vec<u8>)>();
    let descriptor = Rc::clone(&stream);
    let dropped = Rc::new(());
    let held = Rc::clone(&dropped);
    let watch = events.watch(NAME, &*stream, READ, move |events, (watch, bytes), _| {
        let mut byte = [0];
        (&*descriptor).read_exact(&mut byte)?;
        bytes.push(byte[0]);
        if byte == *b"z" {
            events.remove(watch.unwrap(), &*descriptor);
        }
        assert_eq!(Rc::strong_count(&held), 2, "dropped while it runs");
        Ok(())
    });
    let mut state = (Some(watch.unwrap()), Vec::new());
    events.run(&mut state).unwrap();
    assert_eq!(state.1, b"xyz");
    assert_eq!(Rc::strong_count(&dropped), 1, "the callback is not freed");
}

/// The calls, and two watchers.
type Two = (Log, Vec<Watch>);

/// Two watchers, both ready in the same turn: whichever is called does `to_other`. A timer of that
/// turn removes both.
fn two_in_one_turn(to_other: fn(&mut EventLoop<Two>, Watch, &UnixStream) -> Result) -> Log {
    let (first, _first) = readable();
    let (second, _second) = readable();
    let mut events = event_loop::<Two>();
    let mut watches = Vec::new();
    for (own, other, its_index) in [(&first, &second, 1), (&second, &first, 0)] {
        let other = Rc::clone(other);
        let watch = events.watch(
            NAME,
            &**own,
            READ,
            move |events, (log, watches): &mut Two, _| {
                log.push("ready");
                to_other(events, watches[its_index], &other)
            },
        );
        watches.push(watch.unwrap());
    }
    events.set_timer(Instant::now(), move |events, (log, watches)| {
        log.push("turn over");
        events.remove(watches[0], &*first);
        events.remove(watches[1], &*second);
        Ok(())
    });
    let mut state = (Log::new(), watches);
    events.run(&mut state).unwrap();
    state.0
}

#[test]
fn two_that_leave_each_other_alone_are_both_called() {
    let log = two_in_one_turn(|_, _, _| Ok(()));
    assert_eq!(log, ["ready", "ready", "turn over"]);
}

#[test]
fn a_watcher_removed_in_the_same_turn_is_not_called() {
    let log = two_in_one_turn(|events, other, stream| {
        events.remove(other, stream);
        Ok(())
    });
    assert_eq!(log, ["ready", "turn over"]);
}

#[test]
fn a_watcher_that_waits_for_something_else_by_now_is_not_called() {
    let log = two_in_one_turn(|events, other, stream| events.change(other, stream, NOTHING));
    assert_eq!(log, ["ready", "turn over"]);
}

#[test]
fn an_event_does_not_reach_a_newer_watcher_of_the_same_descriptor_number() {
    struct State {
        /// Both readable and watched, until they are exchanged.
        descriptors: [Option<(Watch, OwnedFd)>; 2],
        called: Log,
    }
    let (quiet, _open) = UnixStream::pair().unwrap();
    let quiet = Rc::new(quiet);
    let mut events = event_loop::<State>();
    let mut others = Vec::new();
    let mut state = State {
        descriptors: [None, None],
        called: Log::new(),
    };
    for index in 0..2 {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"x").unwrap();
        others.push(theirs);
        let ours = OwnedFd::from(ours);
        let quiet = Rc::clone(&quiet);
        let watch = events.watch(NAME, &ours, READ, move |events, state: &mut State, _| {
            state.called.push("old");
            let (own, descriptor) = state.descriptors[index].take().unwrap();
            events.remove(own, &descriptor);
            // The other is closed, and its number is at once another, silent one's.
            let (other, mut number) = state.descriptors[1 - index].take().unwrap();
            events.remove(other, &number);
            nix::unistd::dup2(&*quiet, &mut number)?;
            let newer = events.watch(NAME, &number, READ, |_, state: &mut State, _| {
                state.called.push("newer");
                Ok(())
            })?;
            events.set_timer(Instant::now(), move |events, _| {
                events.remove(newer, &number);
                Ok(())
            });
            Ok(())
        });
        state.descriptors[index] = Some((watch.unwrap(), ours));
    }
    events.run(&mut state).unwrap();
    assert_eq!(state.called, ["old"]);
}

#[test]
fn without_interest_nothing_is_told_but_a_hang_up() {
    let (stream, theirs) = readable();
    let mut events = event_loop::<Vec<Interest>>();
    let watch = Rc::new(Cell::new(None));
    let own = Rc::clone(&watch);
    let descriptor = Rc::clone(&stream);
    let entered = events.watch(NAME, &*stream, NOTHING, move |events, told, ready| {
        told.push(ready);
        events.remove(own.get().unwrap(), &*descriptor);
        Ok(())
    });
    watch.set(Some(entered.unwrap()));
    let soon = Instant::now() + Duration::from_millis(5);
    events.set_timer(soon, |_, told| {
        assert_eq!(*told, [], "it has a byte to read");
        drop(theirs);
        Ok(())
    });
    let mut told = Vec::new();
    events.run(&mut told).unwrap();
    assert_eq!(told, [BOTH]);
}

#[test]
fn a_descriptor_that_cannot_be_watched_leaves_nothing_behind() {
    // A plain file is always ready, and epoll does not take it.
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    let mut events = event_loop::<Log>();
    let watched = events.watch(NAME, &file, READ, |_, _, _| Ok(()));
    assert_eq!(errno(watched.map(drop)), Errno::EPERM);
    assert_eq!(events.watchers.len(), 0);
}

#[test]
fn a_change_that_failed_changes_nothing() {
    let (stream, other) = readable();
    let mut events = event_loop::<Log>();
    let watch = events
        .watch(NAME, &*stream, READ, |_, _, _| Ok(()))
        .unwrap();
    let changed = events.change(watch, &other, WRITE);
    assert_eq!(errno(changed), Errno::ENOENT);
    assert_eq!(events.watchers[&watch].interest, READ);
}

#[test]
fn a_watch_that_was_removed_names_nothing() {
    let (stream, _theirs) = readable();
    let mut events = event_loop::<Log>();
    let old = events
        .watch(NAME, &*stream, READ, |_, _, _| Ok(()))
        .unwrap();
    events.remove(old, &*stream);
    let new = events
        .watch(NAME, &*stream, READ, |_, _, _| Ok(()))
        .unwrap();
    events.change(old, &*stream, NOTHING).unwrap();
    events.remove(old, &*stream);
    assert_eq!(events.watchers[&new].interest, READ);
}

#[test]
fn timers_run_in_order_and_those_of_the_same_time_as_they_were_set() {
    let mut events = event_loop::<Log>();
    let at = Instant::now() + Duration::from_millis(3);
    let later = at + Duration::from_millis(1);
    for (at, name) in [(later, "d"), (at, "a"), (at, "b"), (at, "c"), (later, "e")] {
        events.set_timer(at, move |_, log| {
            assert!(Instant::now() >= at, "{name} ran before its time");
            log.push(name);
            Ok(())
        });
    }
    assert_eq!(run(events), ["a", "b", "c", "d", "e"]);
}

#[test]
fn a_cancelled_timer_does_not_run_though_it_is_due_in_the_same_turn() {
    let mut events = event_loop::<Log>();
    let now = Instant::now();
    let never = events.set_timer(now, |_, _| panic!("was cancelled"));
    events.cancel(never);
    let cancelled = Rc::new(Cell::new(None));
    let other = Rc::clone(&cancelled);
    events.set_timer(now, move |events, log| {
        log.push("first");
        events.cancel(other.get().unwrap());
        Ok(())
    });
    let second = events.set_timer(now, |_, _| panic!("was cancelled by the first"));
    cancelled.set(Some(second));
    assert_eq!(run(events), ["first"]);
}

#[test]
fn a_timer_set_by_a_callback_lets_the_descriptors_go_first() {
    let (stream, _theirs) = readable();
    let mut events = event_loop::<Log>();
    let watch = events.watch(NAME, &*stream, READ, |_, log, _| {
        log.push("ready");
        Ok(())
    });
    let watch = watch.unwrap();
    let now = Instant::now();
    events.set_timer(now, move |events, log| {
        log.push("timer");
        events.set_timer(now, move |events, log| {
            log.push("its timer");
            events.remove(watch, &*stream);
            Ok(())
        });
        Ok(())
    });
    assert_eq!(run(events), ["ready", "timer", "ready", "its timer"]);
}

#[test]
fn a_timer_set_by_a_ready_callback_does_not_run_in_the_same_turn() {
    let (stream, _theirs) = readable();
    let mut events = event_loop::<(Log, Option<Watch>)>();
    let descriptor = Rc::clone(&stream);
    let watch = events.watch(NAME, &*stream, READ, move |events, (log, watch), _| {
        log.push("ready");
        let (watch, descriptor) = (watch.unwrap(), Rc::clone(&descriptor));
        events.set_timer(Instant::now(), move |events, (log, _)| {
            log.push("its timer");
            events.remove(watch, &*descriptor);
            Ok(())
        });
        Ok(())
    });
    let mut state = (Log::new(), Some(watch.unwrap()));
    events.run(&mut state).unwrap();
    assert_eq!(state.0, ["ready", "ready", "its timer", "its timer"]);
}

#[test]
fn a_failing_callback_ends_the_run() {
    let mut events = event_loop::<Log>();
    events.set_timer(Instant::now(), |_, _| anyhow::bail!("no more"));
    events.set_timer(Instant::now(), |_, _| panic!("it had ended"));
    let error = events.run(&mut Log::new()).unwrap_err();
    assert_eq!(error.to_string(), "no more");
}
