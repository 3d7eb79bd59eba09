//! What can go wrong between a client and the service, on order.

use std::time::Duration;

use super::state::Action;

/// A kind of trouble.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Trouble {
    /// ThrottlingException, HTTP 400.
    Throttle,
    /// An error of the service: HTTP status, code, text.
    Error(u16, &'static str, &'static str),
    /// A page of HTML with this status, as a load balancer sends it.
    Html(u16),
    /// The connection dies before the request is read. Matches any request.
    ResetBefore,
    /// The request is taken and done, the connection dies before the answer.
    LoseAnswer,
    /// The answer comes after this time.
    Delay(Duration),
    /// The answer comes byte by byte, this time in all.
    Drip(Duration),
    /// Status 200 and a body that is no JSON. The events are not stored.
    Garbage,
    /// The first events of the batch are said to be too old, whatever their time.
    RejectOldest(usize),
    /// Any of these but the last, by chance.
    Any,
}

impl Trouble {
    /// AccessDeniedException.
    pub(crate) const DENIED: Self = Self::Error(
        400,
        "AccessDeniedException",
        "User: arn:aws:sts::123456789012:assumed-role/web is not authorized to perform this action",
    );

    /// Its name in the counts.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Throttle => "throttle",
            Self::Error(_, code, _) => code,
            Self::Html(_) => "html",
            Self::ResetBefore => "reset before",
            Self::LoseAnswer => "lost answer",
            Self::Delay(_) => "delay",
            Self::Drip(_) => "drip",
            Self::Garbage => "garbage",
            Self::RejectOldest(_) => "reject oldest",
            Self::Any => "any",
        }
    }
}

/// A trouble and when it strikes.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// What happens.
    pub(crate) trouble: Trouble,
    action: Option<Action>,
    target: Option<(String, String)>,
    left: Option<u64>,
    /// In a thousand.
    chance: u32,
}

impl Fault {
    /// Strikes every call until it is cleared.
    pub(crate) fn new(trouble: Trouble) -> Self {
        Self {
            trouble,
            action: None,
            target: None,
            left: None,
            chance: 1000,
        }
    }

    /// Strikes only so often.
    pub(crate) fn times(mut self, times: u64) -> Self {
        self.left = Some(times);
        self
    }

    /// Strikes only calls of that action.
    pub(crate) fn on(mut self, action: Action) -> Self {
        self.action = Some(action);
        self
    }

    /// Strikes only calls about that stream of that group; making the group is about no stream.
    pub(crate) fn at(mut self, group: &str, stream: &str) -> Self {
        self.target = Some((group.to_owned(), stream.to_owned()));
        self
    }

    /// Strikes by chance, so many calls of a thousand.
    pub(crate) fn chance(mut self, in_a_thousand: u32) -> Self {
        self.chance = in_a_thousand;
        self
    }

    /// Whether it strikes this call; counts it off if so.
    pub(crate) fn strikes(&mut self, call: &Call<'_>, dice: &mut Dice) -> bool {
        let about = call.action == self.action || self.action.is_none();
        let at = self
            .target
            .as_ref()
            .is_none_or(|(group, stream)| call.group == group && call.stream == stream);
        let strikes = about && at && self.left != Some(0) && dice.below(1000) < self.chance;
        if let (true, Some(left)) = (strikes, &mut self.left) {
            *left -= 1;
        }
        strikes
    }
}

/// What is known of a call when a fault may strike it; nothing before it is read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Call<'a> {
    /// What is asked.
    pub(crate) action: Option<Action>,
    /// About which group.
    pub(crate) group: &'a str,
    /// About which stream, empty when about none.
    pub(crate) stream: &'a str,
}

/// Chance from a seed.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The same seed, the same throws.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 0 .. `limit` - 1.
    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 32) as u32 % limit
    }

    /// One of the troubles that [`Trouble::Any`] stands for.
    pub(crate) fn trouble(&mut self) -> Trouble {
        match self.below(8) {
            0 => Trouble::Throttle,
            1 => Trouble::Html(503),
            2 => Trouble::Html(500),
            3 => Trouble::Error(500, "InternalFailure", "An internal error occurred."),
            4 => Trouble::LoseAnswer,
            5 => Trouble::Garbage,
            6 => Trouble::Delay(Duration::from_millis(50)),
            _ => Trouble::Drip(Duration::from_millis(50)),
        }
    }
}
