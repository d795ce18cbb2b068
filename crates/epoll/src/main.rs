//! An epoll loop.

fn main() {}
