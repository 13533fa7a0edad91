//! The only reader of time.

use crate::model::{BootMoment, Moment, millis};
use rustix::time::{ClockId, clock_gettime};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where this process' time starts: the wall clock once, and the monotonic clock from then on, so that [`now`] never goes
/// backwards and a clock that is set cannot fire or starve a timer.
static START: OnceLock<(u64, Instant)> = OnceLock::new();

/// What the clock on the wall shows. It may be set, and it goes on while the host sleeps, which [`now`] does not: schedules of people
/// follow it, timers do not.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn wall() -> Moment {
    Moment(millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)))
}

/// What the boot clock of this host shows: it is never set, and goes on while the host sleeps. Leases are measured by it.
#[must_use]
pub fn boot() -> BootMoment {
    let time = clock_gettime(ClockId::Boottime);
    BootMoment(millis(Duration::try_from(time).unwrap_or(Duration::ZERO)))
}

/// The time now.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn now() -> Moment {
    let (wall_ms, start) = START.get_or_init(|| {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        (millis(wall), Instant::now())
    });
    Moment(wall_ms + millis(start.elapsed()))
}
