//! What must survive a restart: the boots, the suspension, what was applied; and the order a
//! person left while we were busy or away.
//!
//! The boots are sealed: a flipped digit must not make a loop look like peace.

use std::io::{
    self,
    ErrorKind::{InvalidData, InvalidInput},
};

use serde::{Deserialize, Serialize};

use super::guard::Boots;
use crate::event::{EpochMs, Now};
use crate::ports::Store;
use crate::ports::alarm::{ActionTaken, AlarmSpec};
use crate::ports::sealed::{SealError, seal, unseal};

/// The file in the state directory.
pub const FILE: &str = "boots";

/// The file in which `alarms suspend` and `alarms resume` leave their order.
pub const ORDER_FILE: &str = "alarms-order";

/// The format we write. Older ones are read, newer ones refused.
const VERSION: u32 = 1;

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Saved {
    /// The loop breaker's memory.
    pub boots: Boots,
    /// Whether the service has confirmed that actions are switched off.
    pub off_confirmed: bool,
    /// Whether they are still to be switched on again.
    pub on_wanted: bool,
    /// What was applied last, and when.
    pub applied: Option<Applied>,
    /// The boot whose preceding action was looked up.
    pub history_asked_for: String,
    /// The action that preceded this boot, if one did.
    pub preceded_by: Option<ActionTaken>,
}

/// What the service was last seen to have of ours.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Applied {
    /// Whose they are: a disk may be a copy of another instance's.
    pub instance_id: String,
    /// The alarms: as they are wanted, or as what is left of those that could not be made so.
    pub specs: Vec<AlarmSpec>,
    /// When; 0 while not all is there that was wanted.
    pub at_ms: EpochMs,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Written by a newer version.
    #[error(
        "the file {FILE} was written by a newer version (format {0}): install that again, or remove the file"
    )]
    Newer(u32),
    /// The system.
    #[error("failed to read the file {FILE}")]
    Io(#[from] io::Error),
}

/// Reads what an earlier run left. A damaged file is set aside, and actions are suspended for a
/// quiet period: nobody knows what stood in it.
///
/// # Errors
/// When it cannot be read, or was written by a newer version.
pub fn load(store: &mut dyn Store, now: Now) -> Result<Option<Saved>, LoadError> {
    let why = match store.load(FILE) {
        Ok(None) => return Ok(None),
        Ok(Some(bytes)) => match unseal(FILE, VERSION, &bytes).map(serde_json::from_slice) {
            Ok(Ok(saved)) => return Ok(Some(saved)),
            Ok(Err(error)) => error.to_string(),
            Err(SealError::TooNew { version }) => return Err(LoadError::Newer(version)),
            Err(SealError::Broken(why)) => why,
        },
        // What is no file, or larger than any of ours, is as good as a damaged one.
        Err(error) if matches!(error.kind(), InvalidData | InvalidInput) => error.to_string(),
        Err(error) => return Err(error.into()),
    };
    let kept_as = store.set_aside(FILE)?;
    tracing::error!(%why, %kept_as, "the memory of boots is damaged; alarms' actions are suspended until nothing has restarted for a while");
    Ok(Some(Saved {
        boots: Boots::unknown(now),
        ..Saved::default()
    }))
}

/// Writes it, durably.
///
/// # Errors
/// As the system says; the old content is then still there.
pub fn save(store: &mut dyn Store, saved: &Saved) -> io::Result<()> {
    let sealed = seal(FILE, VERSION, serde_json::to_vec(saved)?);
    store.save(FILE, &sealed)
}

/// What a person wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// No action until told otherwise.
    Suspend,
    /// Actions again; what counted is forgotten where it would suspend them at once.
    Resume,
}

impl Order {
    /// As it stands in the file.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Suspend => "suspend\n",
            Self::Resume => "resume\n",
        }
    }
}

/// The order that was left, if any. What is none is removed.
///
/// # Errors
/// As the system says.
pub fn find_order(store: &mut dyn Store) -> io::Result<Option<Order>> {
    let Some(bytes) = store.load(ORDER_FILE)? else {
        return Ok(None);
    };
    let orders = [Order::Suspend, Order::Resume];
    let order = orders
        .into_iter()
        .find(|order| order.word().as_bytes() == bytes);
    if order.is_none() {
        store.remove(ORDER_FILE)?;
        tracing::warn!(file = ORDER_FILE, "not an order, removed");
    }
    Ok(order)
}

/// Removes an order of which is on disk what came of it; another one that was left meanwhile stays.
///
/// # Errors
/// As the system says; the order is then still there.
pub fn forget_order(store: &mut dyn Store, order: Order) -> io::Result<()> {
    match store.load(ORDER_FILE)? {
        Some(bytes) if bytes == order.word().as_bytes() => store.remove(ORDER_FILE),
        _ => Ok(()),
    }
}
