//! No file is written over one that was read.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Usage;

/// Refuses a file to be written that is one of those to be read, also by a link or another path.
///
/// # Errors
/// Which one it is.
pub fn refuse<'a>(
    flag: &str,
    out: &Path,
    read: impl IntoIterator<Item = &'a Path>,
) -> Result<(), Usage> {
    let file = |path: &Path| {
        let file = fs::metadata(path).ok()?;
        Some((file.dev(), file.ino()))
    };
    let Some(written) = file(out) else {
        return Ok(());
    };
    match read.into_iter().find(|path| file(path) == Some(written)) {
        None => Ok(()),
        Some(path) => Err(Usage(format!(
            "{flag} {} is the file {} that is read: give another name",
            out.display(),
            path.display()
        ))),
    }
}
