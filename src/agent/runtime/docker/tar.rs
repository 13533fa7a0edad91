//! Reading what the Engine sends of a container's files: a tar archive.

/// The unit of the format.
const BLOCK: usize = 512;

/// The content of the first entry, if that is a file. Headers that only describe the next entry (long names, and PAX records, which
/// some Engines write first) are passed over.
pub(super) fn first_file(mut archive: &[u8]) -> Option<&[u8]> {
    loop {
        let (header, rest) = archive.split_at_checked(BLOCK)?;
        let size = std::str::from_utf8(&header[124..136]).ok()?.trim_matches(['\0', ' ']);
        let size = usize::from_str_radix(size, 8).ok()?;
        match header[156] {
            b'0' | b'\0' => return rest.get(..size),
            b'x' | b'g' | b'L' | b'K' => archive = rest.get(size.next_multiple_of(BLOCK)..)?,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::first_file;
    use crate::agent::runtime::rootfs::RootFs;

    #[test]
    fn the_first_file_is_read_and_nothing_else() {
        let file = |root: RootFs| first_file(&root.to_tar().unwrap()).map(<[u8]>::to_vec);
        assert_eq!(file(RootFs::default().file("passwd", 0o644, "root:x:0:")), Some(b"root:x:0:".to_vec()));
        assert_eq!(file(RootFs::default().link("passwd", "elsewhere")), None);
        assert_eq!(file(RootFs::default()), None);
        let cut = RootFs::default().file("passwd", 0o644, "root").to_tar().unwrap();
        assert_eq!(first_file(&cut[..514]), None, "cut off");
    }

    #[test]
    fn records_about_a_file_are_passed_over() {
        let mut archive = RootFs::default().file("pax", 0o644, "27 mtime=1700000000.000000\n").to_tar().unwrap();
        archive[156] = b'x';
        archive.truncate(1024);
        archive.extend(RootFs::default().file("passwd", 0o644, "root").to_tar().unwrap());
        assert_eq!(first_file(&archive), Some(&b"root"[..]));
    }
}
