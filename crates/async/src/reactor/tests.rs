use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use super::*;
use crate::executor::{Executor, Handle, yield_now};
use crate::select::{Either, select};

const NAME: Name = Name::Only("a descriptor");
const READ: Interest = Interest {
    read: true,
    write: false,
};
const WRITE: Interest = Interest {
    read: false,
    write: true,
};

/// Two ends that do not block.
fn pair() -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_nonblocking(true).unwrap();
    (ours, theirs)
}

fn block_on<F: Future<Output = ()> + 'static>(main: impl FnOnce(Handle) -> F) {
    let mut executor = Executor::new().unwrap();
    let main = main(executor.handle());
    executor.block_on(main).unwrap();
}

/// Awaits readiness, and fails where it sleeps on for much longer than it could need.
async fn soon_ready(executor: &Handle, io: &mut Registered<UnixStream>, interest: Interest) {
    let too_late = executor.sleep_until(Instant::now() + Duration::from_secs(20));
    if let Either::First(()) = select(too_late, io.ready(interest)).await {
        panic!("a wake-up was lost");
    }
}

/// The kernel is asked some times.
async fn turns() {
    for _ in 0..5 {
        yield_now().await;
    }
}

/// Not ready, though the kernel was asked again and again.
async fn stays_unready(io: &mut Registered<UnixStream>, interest: Interest) {
    if let Either::First(_) = select(io.ready(interest), turns()).await {
        panic!("ready for {interest:?}");
    }
}

fn would_block(io: &UnixStream) {
    let mut io = io;
    let error = io.read(&mut [0; 64]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

#[test]
fn what_arrives_between_eagain_and_awaiting_wakes() {
    block_on(async |executor| {
        let (ours, mut theirs) = pair();
        let mut ours = executor.register(NAME, ours).unwrap();
        for _ in 0..100 {
            would_block(&ours);
            theirs.write_all(b"x").unwrap();
            soon_ready(&executor, &mut ours, READ).await;
            assert_eq!((&*ours).read(&mut [0; 64]).unwrap(), 1);
        }
    });
}

#[test]
fn what_arrived_before_the_registration_wakes() {
    block_on(async |executor| {
        let (ours, mut theirs) = pair();
        theirs.write_all(b"x").unwrap();
        let mut ours = executor.register(NAME, ours).unwrap();
        soon_ready(&executor, &mut ours, READ).await;
    });
}

#[test]
fn a_report_that_came_while_nobody_waited_is_stored_until_it_is_taken() {
    block_on(async |executor| {
        let (ours, mut theirs) = pair();
        let mut ours = executor.register(NAME, ours).unwrap();
        theirs.write_all(b"x").unwrap();
        // The kernel reports it now, and only once.
        turns().await;
        soon_ready(&executor, &mut ours, WRITE).await;
        soon_ready(&executor, &mut ours, READ).await;
        // The byte is still there, but its report was taken.
        stays_unready(&mut ours, READ).await;
    });
}

#[test]
fn tasks_that_wait_for_each_other_in_turn_move_all_bytes() {
    block_on(async |executor| {
        let (ours, theirs) = pair();
        let mut ours = executor.register(NAME, ours).unwrap();
        let mut theirs = executor.register(NAME, theirs).unwrap();
        let own = executor.clone();
        executor.spawn(async move {
            let mut left = vec![7; 1 << 20];
            while !left.is_empty() {
                match (&*ours).write(&left) {
                    Ok(n) => drop(left.drain(..n)),
                    Err(_) => soon_ready(&own, &mut ours, WRITE).await,
                }
            }
        });
        let mut received = 0;
        loop {
            match (&*theirs).read(&mut [0; 5_000]) {
                Ok(0) => break,
                Ok(n) => received += n,
                Err(_) => soon_ready(&executor, &mut theirs, READ).await,
            }
        }
        assert_eq!(received, 1 << 20);
    });
}

#[test]
fn readiness_in_the_other_direction_does_not_count() {
    block_on(async |executor| {
        let (ours, mut theirs) = pair();
        let mut ours = executor.register(NAME, ours).unwrap();
        // Open and empty: only writable.
        stays_unready(&mut ours, READ).await;
        soon_ready(&executor, &mut ours, WRITE).await;
        theirs.write_all(b"x").unwrap();
        soon_ready(&executor, &mut ours, READ).await;
    });
}

#[test]
fn a_hang_up_counts_as_both() {
    block_on(async |executor| {
        let (ours, theirs) = pair();
        drop(theirs);
        let mut ours = executor.register(NAME, ours).unwrap();
        soon_ready(&executor, &mut ours, WRITE).await;
        soon_ready(&executor, &mut ours, READ).await;
    });
}

#[test]
fn an_end_of_input_wakes() {
    block_on(async |executor| {
        let (ours, mut theirs) = pair();
        let mut ours = executor.register(NAME, ours).unwrap();
        theirs.write_all(b"xyz").unwrap();
        soon_ready(&executor, &mut ours, READ).await;
        assert_eq!((&*ours).read(&mut [0; 64]).unwrap(), 3);
        would_block(&ours);
        theirs.shutdown(Shutdown::Write).unwrap();
        soon_ready(&executor, &mut ours, READ).await;
        assert_eq!((&*ours).read(&mut [0; 64]).unwrap(), 0);
    });
}

#[test]
fn a_report_tells_whether_a_short_read_empties_the_socket() {
    block_on(async |executor| {
        let (ours, mut theirs) = pair();
        let mut ours = executor.register(NAME, ours).unwrap();
        theirs.write_all(b"xyz").unwrap();
        assert_eq!(ours.ready(READ).await, Trigger::Level);
        assert_eq!((&*ours).read(&mut [0; 64]).unwrap(), 3);
        theirs.write_all(b"xyz").unwrap();
        theirs.shutdown(Shutdown::Write).unwrap();
        assert_eq!(ours.ready(READ).await, Trigger::Edge);
        assert_eq!((&*ours).read(&mut [0; 64]).unwrap(), 3);
        assert_eq!((&*ours).read(&mut [0; 64]).unwrap(), 0);
    });
}

#[test]
fn a_wait_that_is_given_up_loses_nothing() {
    block_on(async |executor| {
        let (ours, mut theirs) = pair();
        let mut ours = executor.register(NAME, ours).unwrap();
        stays_unready(&mut ours, READ).await;
        theirs.write_all(b"x").unwrap();
        // The notification comes while the future that was dropped is still registered.
        turns().await;
        soon_ready(&executor, &mut ours, READ).await;
    });
}

#[test]
fn what_is_dropped_is_no_longer_registered() {
    let reactor = Rc::new(Reactor::new().unwrap());
    let (ours, mut theirs) = pair();
    // The description stays open, and with it the kernel's entry if it were not taken out.
    let other_descriptor = ours.try_clone().unwrap();
    let registered = reactor.register(NAME, ours).unwrap();
    let now = Some(Duration::ZERO);
    assert_eq!(reactor.wait(now).unwrap(), 1, "writable");
    drop(registered);
    theirs.write_all(b"x").unwrap();
    assert_eq!(reactor.wait(now).unwrap(), 0);
    assert!(reactor.sources.borrow().is_empty());
    drop(other_descriptor);
}

#[test]
fn what_cannot_be_registered_leaves_nothing_behind() {
    let reactor = Rc::new(Reactor::new().unwrap());
    // A plain file is always ready, and epoll does not take it.
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    assert!(reactor.register(NAME, file).is_err());
    assert!(reactor.sources.borrow().is_empty());
}
