//! Which program is measured: its file, and the SHA-256 of that.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};
use sha2::{Digest, Sha256};

/// The file that a command's first word leads to, by `PATH` if it has no slash.
pub fn resolve(word: &OsStr) -> Option<PathBuf> {
    if word.as_encoded_bytes().contains(&b'/') {
        return Path::new(word).is_file().then(|| word.into());
    }
    let places = std::env::var_os("PATH")?;
    std::env::split_paths(&places)
        .map(|place| place.join(word))
        .find(|path| path.is_file() && access(path, AccessFlags::X_OK).is_ok())
}

/// The SHA-256 of a file, in hexadecimal digits.
///
/// # Errors
/// When it cannot be read.
pub fn sha256(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(format!("{:x}", hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_word_without_a_slash_is_looked_for() {
        let top = tempfile::tempdir().unwrap();
        let file = top.path().join("no program of the system has this name");
        fs::write(&file, "abc").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(resolve(file.as_os_str()), Some(file.clone()));
        assert_eq!(resolve(file.file_name().unwrap()), None);
        assert!(resolve("cargo".as_ref()).is_none_or(|path| path.ends_with("cargo")));
        assert_eq!(resolve("./none".as_ref()), None);
    }

    #[test]
    fn the_hash_is_that_of_the_standard() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, "abc").unwrap();
        // FIPS 180-4, the example of one block.
        assert_eq!(
            sha256(file.path()).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert!(sha256(Path::new("/nothing/here")).is_err());
    }
}
