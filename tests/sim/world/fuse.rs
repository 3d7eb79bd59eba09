//! Death in the middle of a step: after so many calls over the edges nothing the agent does has
//! any effect, and the run throws the agent away.

use std::cell::Cell;
use std::rc::Rc;

/// Shared by all edges of one simulated machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fuse(Rc<Cell<State>>);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    left: Option<u32>,
    dead: bool,
}

/// What became of one call over an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pulse {
    /// It takes effect.
    Alive,
    /// The process dies in this very call: the effect may be there or not.
    Dying,
    /// The process is dead: no effect.
    Dead,
}

impl Fuse {
    /// Dies in the `calls`-th call from now.
    pub(crate) fn light(&self, calls: u32) {
        self.0.set(State {
            left: Some(calls),
            dead: false,
        });
    }

    /// A new process.
    pub(crate) fn reset(&self) {
        self.0.set(State::default());
    }

    /// Whether the process has died.
    pub(crate) fn is_dead(&self) -> bool {
        self.0.get().dead
    }

    /// One call over an edge.
    pub(crate) fn pulse(&self) -> Pulse {
        let mut state = self.0.get();
        if state.dead {
            return Pulse::Dead;
        }
        match &mut state.left {
            None => return Pulse::Alive,
            Some(0) => state.dead = true,
            Some(left) => *left -= 1,
        }
        self.0.set(state);
        if state.dead {
            Pulse::Dying
        } else {
            Pulse::Alive
        }
    }
}
