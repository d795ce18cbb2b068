//! Stacks to park. Each is a mapping of its own, with a guard page below: a stack that is too deep
//! ends the process instead of writing over another client's.
//!
//! The kernel gives a stack memory page by page, as it is used. So a stack can be larger than a
//! conversation needs. What is scarce is mappings: a process has `vm.max_map_count` of them.

use std::io;

use corosensei::stack::DefaultStack;

/// Addresses of one stack, in bytes.
pub const STACK: usize = 64 * 1024;

/// How many are kept for the next clients: to map one anew costs more than a request.
const SPARES: usize = 256;

/// Stacks without a client.
#[derive(Default)]
pub struct Stacks {
    spare: Vec<DefaultStack>,
}

impl Stacks {
    /// A stack for one client.
    pub fn take(&mut self) -> io::Result<DefaultStack> {
        self.spare
            .pop()
            .map_or_else(|| DefaultStack::new(STACK), Ok)
    }

    /// The client has left, or did not come.
    pub fn give_back(&mut self, stack: DefaultStack) {
        if self.spare.len() < SPARES {
            self.spare.push(stack);
        }
    }
}
