//! How full the disks are: asked of the kernel now and then, judged by the core.

use super::Event;
use crate::agent::core::Disk;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How often it is asked.
const PERIOD: Duration = Duration::from_secs(10);

/// Measures the disks of the folders that `places` names, until `shutdown`. One that cannot be asked is left out.
pub(super) fn measure(
    places: impl Fn() -> Vec<PathBuf> + Send + 'static,
    events: mpsc::UnboundedSender<Event>,
    shutdown: CancellationToken,
) {
    tokio::spawn(async move {
        let mut beat = interval(PERIOD);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = beat.tick() => {}
                () = shutdown.cancelled() => return,
            }
            let asked = places();
            // A disk that hangs holds up this task alone.
            let measured = tokio::task::spawn_blocking(move || asked.into_iter().filter_map(disk).collect()).await;
            if measured.is_ok_and(|disks| events.send(Event::Disks(disks)).is_err()) {
                return;
            }
        }
    });
}

fn disk(path: PathBuf) -> Option<Disk> {
    let stat = rustix::fs::statvfs(&path).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Some(Disk {
        path,
        free_bytes: bytes(stat.f_bavail),
        total_bytes: bytes(stat.f_blocks),
        free_files: stat.f_favail,
        total_files: stat.f_files,
    })
}

#[cfg(test)]
mod tests {
    use super::{Event, disk, measure};
    use std::path::PathBuf;
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    #[test]
    fn a_folder_is_on_a_disk_and_what_is_not_there_is_on_none() {
        let found = disk(std::env::temp_dir()).expect("a disk");
        assert!(found.total_bytes > 0 && found.free_bytes <= found.total_bytes);
        assert_eq!(disk("/no/such/folder".into()), None);
    }

    #[tokio::test]
    async fn the_disks_are_those_of_the_places_that_are_named_and_there() {
        let (events, mut happened) = mpsc::unbounded_channel();
        let shutdown = CancellationToken::new();
        let places = || ["/proc", "/no/such/folder", "/"].map(PathBuf::from).to_vec();
        measure(places, events, shutdown.clone());
        let Some(Event::Disks(disks)) = happened.recv().await else { panic!("disks") };
        assert_eq!(disks.into_iter().map(|disk| disk.path).collect::<Vec<_>>(), [PathBuf::from("/proc"), PathBuf::from("/")]);
        shutdown.cancel();
    }
}
