//! The images that we pulled, remembered in a file of the state directory: only these are ours to take away.

use crate::agent::runtime::json_file;
use crate::model::Moment;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is known of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PulledImage {
    /// When it was pulled.
    pub(super) at: Moment,
    /// When a container was last seen to use it.
    pub(super) used: Moment,
}

/// Images by id.
type Images = BTreeMap<String, PulledImage>;

/// The file, read when it is first needed.
#[derive(Debug)]
pub(super) struct Pulled {
    file: PathBuf,
    images: Mutex<Option<Images>>,
}

impl Pulled {
    pub(super) fn new(file: PathBuf) -> Self {
        Self { file, images: Mutex::default() }
    }

    /// All of them.
    pub(super) fn all(&self) -> Images {
        self.images().clone().unwrap_or_default()
    }

    /// One more.
    pub(super) fn add(&self, id: &str, now: Moment) {
        self.change(|images| images.insert(id.to_owned(), PulledImage { at: now, used: now }).is_none());
    }

    /// Takes in what an Engine has: images that are there, and those of them that containers use.
    pub(super) fn see(&self, there: &BTreeSet<String>, in_use: &BTreeSet<String>, now: Moment) {
        self.change(|images| {
            let before = images.clone();
            images.retain(|id, _| there.contains(id));
            for (_, image) in images.iter_mut().filter(|(id, _)| in_use.contains(*id)) {
                image.used = now;
            }
            *images != before
        });
    }

    fn change(&self, change: impl FnOnce(&mut Images) -> bool) {
        let mut images = self.images();
        let images = images.get_or_insert_default();
        // An image that is not remembered is kept for ever, which a warning is enough for.
        if change(images)
            && let Err(error) = self.save(images)
        {
            tracing::warn!(%error, file = %self.file.display(), "which images were pulled cannot be written down");
        }
    }

    fn images(&self) -> MutexGuard<'_, Option<Images>> {
        let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        if images.is_none() {
            *images = Some(json_file::read(&self.file).unwrap_or_default());
        }
        images
    }

    fn save(&self, images: &Images) -> io::Result<()> {
        let folder = self.file.parent().unwrap_or(std::path::Path::new("/"));
        fs::create_dir_all(folder)?;
        json_file::write(&self.file, images)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_pulled_is_known_to_the_next_agent_as_long_as_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Pulled::new(folder.path().join("state/images.json"));
        let set = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>();
        open().add("a", Moment(1));
        open().add("b", Moment(2));
        assert_eq!(open().all().len(), 2);
        open().see(&set(&["b", "c"]), &set(&["b", "c"]), Moment(3));
        assert_eq!(open().all(), BTreeMap::from([("b".to_owned(), PulledImage { at: Moment(2), used: Moment(3) })]));
    }

    #[test]
    fn a_file_that_cannot_be_read_knows_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("images.json");
        fs::write(&file, "{").unwrap();
        assert_eq!(Pulled::new(file).all(), BTreeMap::new());
    }
}
