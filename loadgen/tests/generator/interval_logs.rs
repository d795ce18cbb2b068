//! `loadgen merge` of interval logs that are not to be merged.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hdrhistogram::Histogram;
use loadgen::recording::hlog::{Interval, write};

use crate::merge::{merge, text};

/// A log of three intervals whose times count from `base`, seconds since 1970.
fn log(directory: &Path, name: &str, base: u64) -> PathBuf {
    let intervals = (0..3).map(|second| {
        let mut histogram = Histogram::new(3).unwrap();
        histogram.record(5).unwrap();
        Interval {
            tag: "response".to_owned(),
            start: Duration::from_secs(second),
            length: Duration::from_secs(1),
            histogram,
        }
    });
    let file = directory.join(name);
    fs::write(&file, write(Duration::from_secs(base), intervals).unwrap()).unwrap();
    file
}

fn refused(files: &[PathBuf], out: &Path, code: i32) -> String {
    let output = merge(files, out, &[]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

#[test]
fn a_log_is_not_written_over_itself() {
    let top = tempfile::tempdir().unwrap();
    let top = top.path();
    let files = [
        log(top, "a.hlog", 1_800_000_000),
        log(top, "b.hlog", 1_800_000_000),
    ];
    let before = files.each_ref().map(|file| fs::read(file).unwrap());
    symlink(&files[1], top.join("soft")).unwrap();
    fs::hard_link(&files[1], top.join("hard")).unwrap();
    for out in ["a.hlog", "b.hlog", "./a.hlog", "soft", "hard"] {
        let said = refused(&files, &top.join(out), 2);
        assert!(said.contains("that is read: give another name"), "{said}");
        let after = files.each_ref().map(|file| fs::read(file).unwrap());
        assert_eq!(after, before, "{out}");
    }
    // Another file of that name may be there.
    let out = top.join("out");
    fs::write(&out, "old").unwrap();
    assert!(merge(&files, &out, &[]).status.success());
    assert_ne!(fs::read(&out).unwrap(), b"old");
}

#[test]
fn a_log_with_a_date_is_not_laid_beside_one_without() {
    let top = tempfile::tempdir().unwrap();
    let top = top.path();
    let [dated, dateless] = [log(top, "dated", 1_800_000_000), log(top, "dateless", 0)];
    let out = top.join("out");
    let says = format!(
        "merge {} and {}: only the first says when",
        dated.display(),
        dateless.display()
    );
    for files in [[&dated, &dateless], [&dateless, &dated]] {
        let said = refused(&files.map(Clone::clone), &out, 1);
        assert!(said.contains(&says), "{said}");
        assert!(!out.exists());
    }
    for files in [[&dated, &dated], [&dateless, &dateless]] {
        assert!(merge(&files.map(Clone::clone), &out, &[]).status.success());
    }
}
