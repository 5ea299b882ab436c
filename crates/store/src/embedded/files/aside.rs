//! Names of files that were set aside: `NUMBER.segment`, `NUMBER.log`, or for one record of a log file `NUMBER-OFFSET.record`,
//! with a further number where one is there already, and `.repaired` behind it once nothing more can be had from it.

/// The folder of what was set aside, in a directory as in a bucket.
pub(crate) const DAMAGED_FOLDER: &str = "damaged";
const REPAIRED: &str = ".repaired";

/// A file that was set aside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Aside {
    pub(crate) number: u64,
    /// Its name in the folder.
    pub(crate) name: String,
    /// Whether it is in the directory although segments are in a bucket.
    pub(crate) is_in_directory: bool,
}

impl Aside {
    /// The file of a name, if it is one of these with an extension.
    pub(crate) fn parse(name: &str, extension: &str) -> Option<Self> {
        let stem = name.strip_suffix(REPAIRED).unwrap_or(name).strip_suffix(extension)?.strip_suffix('.')?;
        let number = stem.split(['.', '-']).next()?.parse().ok()?;
        Some(Self { number, name: name.to_owned(), is_in_directory: false })
    }

    /// Whether nothing more can be had from it.
    pub(crate) fn is_repaired(&self) -> bool {
        self.name.ends_with(REPAIRED)
    }

    /// Its name when nothing more can be had from it.
    pub(crate) fn repaired_name(&self, is_taken: impl Fn(&str) -> bool) -> String {
        let extension = self.name.rsplit_once('.').map_or("", |(_, extension)| extension);
        free_name(self.number, extension, true, is_taken)
    }
}

/// A name that no other file has.
pub(crate) fn free_name(number: u64, extension: &str, is_repaired: bool, is_taken: impl Fn(&str) -> bool) -> String {
    let suffix = if is_repaired { REPAIRED } else { "" };
    let first = format!("{number:010}.{extension}{suffix}");
    let others = (2..).map(|copy: u64| format!("{number:010}.{copy}.{extension}{suffix}"));
    std::iter::once(first).chain(others).find(|name| !is_taken(name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_takes_the_name_of_another() {
        let mut names: Vec<String> = Vec::new();
        for is_repaired in [false, true, false, true, false] {
            let name = free_name(7, "segment", is_repaired, |name| names.iter().any(|known| known == name));
            assert!(!names.contains(&name), "{name} in {names:?}");
            names.push(name);
        }
        assert_eq!(names[0], "0000000007.segment");
        for name in &names {
            let aside = Aside::parse(name, "segment").unwrap();
            assert_eq!(aside.number, 7, "{name}");
        }
        assert_eq!(names.iter().filter(|name| Aside::parse(name, "segment").unwrap().is_repaired()).count(), 2);
        assert_eq!(Aside::parse("0000000007.log", "segment"), None);
        assert_eq!(Aside::parse("0000000007-1234.record", "record").map(|aside| aside.number), Some(7));
        assert_eq!(Aside::parse("notes.segment", "segment"), None);
    }
}
