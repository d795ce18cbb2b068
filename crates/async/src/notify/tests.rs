use std::pin::pin;

use super::*;

fn is_ready(notified: Pin<&mut Notified>) -> bool {
    notified
        .poll(&mut Context::from_waker(Waker::noop()))
        .is_ready()
}

#[test]
fn all_who_wait_are_told_and_those_who_come_later_are_not() {
    let notify = Notify::default();
    let mut first = pin!(notify.notified());
    let mut second = pin!(notify.notified());
    assert!(!is_ready(first.as_mut()));
    assert!(!is_ready(second.as_mut()));
    notify.notify_all();
    let mut later = pin!(notify.notified());
    assert!(is_ready(first.as_mut()));
    assert!(is_ready(second.as_mut()));
    assert!(!is_ready(later.as_mut()));
}

#[test]
fn a_notification_before_the_first_poll_counts() {
    let notify = Notify::default();
    let mut notified = pin!(notify.notified());
    notify.notify_all();
    assert!(is_ready(notified.as_mut()));
}

#[test]
fn who_does_not_wait_any_more_leaves_nothing_behind() {
    let notify = Notify::default();
    {
        let mut notified = pin!(notify.notified());
        assert!(!is_ready(notified.as_mut()));
        assert!(!is_ready(notified.as_mut()));
        assert_eq!(notify.waiting.borrow().len(), 1);
    }
    assert_eq!(notify.waiting.borrow().len(), 0);
}

#[test]
fn who_was_notified_does_not_take_the_place_of_those_who_wait_now() {
    let notify = Notify::default();
    let mut first = Box::pin(notify.notified());
    assert!(!is_ready(first.as_mut()));
    notify.notify_all();
    let mut second = pin!(notify.notified());
    assert!(!is_ready(second.as_mut()));
    drop(first);
    assert_eq!(notify.waiting.borrow().len(), 1);
}
