//! How a node is reached, and what to try next. Pure.
//!
//! There are three ways to a node, best first: dial it; be dialled by it, and open streams over that connection; or meet it at the
//! controller, which relays what both send. The last two begin alike: the controller is asked to *call* the node, which dials back if it
//! can, and comes to the relay if it cannot.

use crate::model::Moment;
use std::time::Duration;

/// How a link came about. The better one is the smaller one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    /// This node dialled that one.
    Direct,
    /// That node dialled this one.
    Reversed,
    /// Both dialled the controller.
    Relayed,
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Path::Direct => "direct",
            Path::Reversed => "reversed",
            Path::Relayed => "relayed",
        })
    }
}

/// An attempt to get a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    /// Dial the node.
    Dial,
    /// Have the controller call it.
    Call,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// This. It ends with [`Course::failed`] or [`Course::linked`].
    Try(Attempt),
    /// Nothing before that time, unless something happens.
    Rest(Option<Moment>),
}

/// The pause after a first failure; it doubles.
const PAUSE: Duration = Duration::from_millis(500);

/// The longest pause while there is no link.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// While there is a link, a better one is looked for so often.
pub(super) const HEAL: Duration = Duration::from_secs(60);

/// A link that is so old is replaced, so that it never outlives its certificates by much; its streams go on over the old one.
pub(super) const AGE_MAX: Duration = Duration::from_secs(6 * 3600);

/// One kind of attempt, and how it went.
#[derive(Debug, Clone, Copy, Default)]
struct Tries {
    failures: u32,
    /// Not before.
    next: Moment,
}

impl Tries {
    /// `jitter` shortens a pause by chance, so that nodes do not try in step.
    fn failed(&mut self, now: Moment, linked: bool, jitter: impl Fn(Duration) -> Duration) {
        let doubled = PAUSE.saturating_mul(1 << self.failures.min(10)).min(PAUSE_MAX);
        self.failures += 1;
        self.next = now + jitter(if linked { HEAL } else { doubled });
    }
}

/// The way to one node.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// It says where it can be dialled.
    pub(super) has_address: bool,
    /// There is a controller to call it.
    can_call: bool,
    /// Somebody waits for a link.
    pub(super) is_wanted: bool,
    link: Option<(Path, Moment)>,
    trying: Option<Attempt>,
    dial: Tries,
    call: Tries,
}

impl Course {
    /// The way to a node of which nothing is known, with a controller or not.
    pub(super) fn new(can_call: bool) -> Self {
        Self { can_call, ..Self::default() }
    }

    /// What to do, by the first rule that fits.
    pub(super) fn next(&self, now: Moment) -> Next {
        match self.link {
            // One attempt at a time.
            _ if self.trying.is_some() => Next::Rest(None),
            // A link that nobody needs is not made.
            None if !self.is_wanted => Next::Rest(None),
            None => self.first_link(now),
            Some((Path::Direct, made)) => self.replacement(made + AGE_MAX, now),
            // The better way is tried again and again; the one in use serves meanwhile.
            Some(_) if self.has_address => self.replacement(self.dial.next, now),
            // Whoever made this link makes the next one.
            Some(_) => Next::Rest(None),
        }
    }

    /// Begins an attempt.
    pub(super) fn begin(&mut self, attempt: Attempt) {
        self.trying = Some(attempt);
    }

    /// The attempt under way has failed; which it was.
    pub(super) fn failed(&mut self, now: Moment, jitter: impl Fn(Duration) -> Duration) -> Option<Attempt> {
        let linked = self.link.is_some();
        let failed = self.trying.take();
        match failed {
            Some(Attempt::Dial) => self.dial.failed(now, linked, jitter),
            Some(Attempt::Call) => self.call.failed(now, linked, jitter),
            None => {}
        }
        failed
    }

    /// Whether there is a controller to call the node.
    pub(super) fn can_call(&self) -> bool {
        self.can_call
    }

    /// A link is there, by an attempt or because the node came by itself: whether to use it in the place of the one that there may be.
    /// Of two that came about alike the newer one counts: the older may be dead without knowing it yet.
    pub(super) fn linked(&mut self, path: Path, now: Moment, jitter: impl Fn(Duration) -> Duration) -> bool {
        if self.link.is_some_and(|(present, _)| present < path) {
            return false;
        }
        self.link = Some((path, now));
        self.is_wanted = false;
        match path {
            Path::Direct => self.dial = Tries::default(),
            // What failed just now is not tried again at once.
            Path::Reversed | Path::Relayed => {
                self.call = Tries::default();
                self.dial.next = self.dial.next.max(now + jitter(HEAL));
            }
        }
        true
    }

    /// The attempt under way is over without a word: a link came from elsewhere.
    pub(super) fn abandon(&mut self) {
        self.trying = None;
    }

    /// The link is gone. What failed while it was there may work now.
    pub(super) fn lost(&mut self, now: Moment) {
        self.link = None;
        self.dial = Tries::default();
        self.call.next = now;
    }

    /// The node can be dialled elsewhere now, or has come back: nothing that failed before counts.
    pub(super) fn changed(&mut self) {
        self.dial = Tries::default();
        self.call = Tries::default();
    }

    /// Whether an attempt is under way.
    pub(super) fn is_trying(&self) -> bool {
        self.trying.is_some()
    }

    /// How the node is reached now.
    #[cfg(test)]
    pub(super) fn path(&self) -> Option<Path> {
        self.link.map(|(path, _)| path)
    }

    fn first_link(&self, now: Moment) -> Next {
        let dial = (self.has_address, Attempt::Dial, self.dial.next);
        let call = (self.can_call, Attempt::Call, self.call.next);
        let possible = || [dial, call].into_iter().filter(|(possible, ..)| *possible);
        let due = possible().find(|(.., next)| *next <= now).map(|(_, attempt, _)| Next::Try(attempt));
        due.unwrap_or_else(|| Next::Rest(possible().map(|(.., next)| next).min()))
    }

    fn replacement(&self, due: Moment, now: Moment) -> Next {
        let due = due.max(self.dial.next);
        if self.has_address && due <= now { Next::Try(Attempt::Dial) } else { Next::Rest(self.has_address.then_some(due)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Moment = Moment(1_000_000_000);

    fn always(pause: Duration) -> Duration {
        pause
    }

    /// A course on which a link is wanted, to a node that has an address or not, with a controller or not.
    fn wanted(has_address: bool, can_call: bool) -> Course {
        Course { has_address, can_call, is_wanted: true, ..Course::default() }
    }

    /// Begins what is next, which must be `attempt`, and lets it fail.
    fn fails(course: &mut Course, attempt: Attempt, now: Moment) {
        assert_eq!(course.next(now), Next::Try(attempt));
        course.begin(attempt);
        assert_eq!(course.next(now), Next::Rest(None), "one attempt at a time");
        assert_eq!(course.failed(now, always), Some(attempt));
    }

    #[test]
    fn a_link_that_nobody_wants_is_not_made() {
        assert_eq!(Course { has_address: true, can_call: true, ..Course::default() }.next(NOON), Next::Rest(None));
    }

    #[test]
    fn a_node_is_dialled_first_and_called_once_that_has_failed() {
        let mut course = wanted(true, true);
        fails(&mut course, Attempt::Dial, NOON);
        fails(&mut course, Attempt::Call, NOON);
        assert_eq!(course.next(NOON), Next::Rest(Some(NOON + PAUSE)));
        fails(&mut course, Attempt::Dial, NOON + PAUSE);
        fails(&mut course, Attempt::Call, NOON + PAUSE);
        assert_eq!(course.next(NOON + PAUSE), Next::Rest(Some(NOON + PAUSE + PAUSE * 2)), "pauses double");
    }

    #[test]
    fn a_node_without_an_address_is_called_at_once() {
        assert_eq!(wanted(false, true).next(NOON), Next::Try(Attempt::Call));
    }

    #[test]
    fn without_any_way_there_is_nothing_to_wait_for() {
        assert_eq!(wanted(false, false).next(NOON), Next::Rest(None));
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        let mut course = wanted(true, false);
        let mut now = NOON;
        for _ in 0..20 {
            fails(&mut course, Attempt::Dial, now);
            let Next::Rest(Some(next)) = course.next(now) else { panic!("no pause after a failure") };
            assert!(next.since(now) <= PAUSE_MAX);
            now = next;
        }
        assert_eq!(course.dial.next.since(now), Duration::ZERO);
    }

    #[test]
    fn a_better_way_takes_the_place_of_a_worse_one_and_never_the_other_way_round() {
        for (present, new, used) in [
            (Path::Relayed, Path::Reversed, true),
            (Path::Relayed, Path::Direct, true),
            (Path::Reversed, Path::Direct, true),
            (Path::Direct, Path::Reversed, false),
            (Path::Reversed, Path::Relayed, false),
            (Path::Direct, Path::Direct, true),
            (Path::Reversed, Path::Reversed, true),
        ] {
            let mut course = wanted(true, true);
            assert!(course.linked(present, NOON, always));
            assert_eq!(course.linked(new, NOON, always), used, "{new} where there is {present}");
            assert_eq!(course.path(), Some(if used { new } else { present }));
        }
    }

    #[test]
    fn a_worse_way_is_used_while_a_better_one_is_looked_for() {
        for path in [Path::Reversed, Path::Relayed] {
            let mut course = wanted(true, true);
            fails(&mut course, Attempt::Dial, NOON);
            course.begin(Attempt::Call);
            assert!(course.linked(path, NOON, always));
            course.abandon();
            assert_eq!(course.next(NOON), Next::Rest(Some(NOON + HEAL)));
            fails(&mut course, Attempt::Dial, NOON + HEAL);
            assert_eq!(course.next(NOON + HEAL), Next::Rest(Some(NOON + HEAL * 2)));
        }
    }

    #[test]
    fn a_link_that_is_lost_is_made_again_at_once_if_it_is_wanted() {
        let mut course = wanted(true, true);
        fails(&mut course, Attempt::Dial, NOON);
        course.begin(Attempt::Call);
        assert!(course.linked(Path::Relayed, NOON, always));
        course.abandon();
        course.lost(NOON);
        assert_eq!(course.next(NOON), Next::Rest(None));
        course.is_wanted = true;
        assert_eq!(course.next(NOON), Next::Try(Attempt::Dial));
    }

    #[test]
    fn an_old_link_is_replaced() {
        let mut course = wanted(true, true);
        assert!(course.linked(Path::Direct, NOON, always));
        assert_eq!(course.next(NOON), Next::Rest(Some(NOON + AGE_MAX)));
        assert_eq!(course.next(NOON + AGE_MAX), Next::Try(Attempt::Dial));
        fails(&mut course, Attempt::Dial, NOON + AGE_MAX);
        assert_eq!(course.next(NOON + AGE_MAX), Next::Rest(Some(NOON + AGE_MAX + HEAL)));
    }
}
